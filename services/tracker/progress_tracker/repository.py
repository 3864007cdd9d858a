"""The tracker's documents: a job's progress, its producers, its events; written together, on a condition.

A job's document carries the revision every commit is conditional on, so two trackers on one store never give
the same number to two events. Chunks and pages are found by id alone, hashed, so writes spread.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from service_common.clock import Clock
from service_common.errors import aborted
from service_common.storage import (
    Collection,
    Create,
    Decision,
    Direction,
    Document,
    DocumentStore,
    Key,
    Order,
    Page,
    Query,
    QueryShape,
    Schema,
    Set,
    Write,
)

from progress_tracker.documents import (
    chunk_fields,
    page_fields,
    progress_fields,
    read_chunk,
    read_page,
    read_progress,
)
from progress_tracker.job_log import Chunk, EventEncoder, JobLog, LogChanges, chunk_number
from progress_tracker.producers import PAGE_PRODUCERS, Producers, blank_page
from progress_tracker.progress import JobProgress, ProgressFold, ProgressPage
from progress_tracker.report import ItemState
from progress_tracker.resume_token import KEY_BYTES

_JOBS = Collection("jobs", ttl_field="expire_time")
_PRODUCERS = Collection("producers", ttl_field="expire_time")
_EVENTS = Collection("events", ttl_field="expire_time")
_SECRETS = Collection("secrets")

_LATEST_FIRST = (Order("listed_time", Direction.DESCENDING),)
_ALL_JOBS = QueryShape("jobs_by_time", "jobs", order=_LATEST_FIRST)
_JOBS_OF_USER = QueryShape("jobs_of_user", "jobs", equals=("user",), order=_LATEST_FIRST)
_JOBS_IN_STATE = QueryShape("jobs_in_state", "jobs", equals=("state",), order=_LATEST_FIRST)
_JOBS_WRITTEN = QueryShape("jobs_written", "jobs", order=(Order("written_time"),))
_EVENTS_OF_JOB = QueryShape("events_of_job", "events", equals=("job_id",), order=(Order("first_sequence"),))

SCHEMA = Schema(
    collections=(_JOBS, _PRODUCERS, _EVENTS, _SECRETS),
    shapes=(_ALL_JOBS, _JOBS_OF_USER, _JOBS_IN_STATE, _JOBS_WRITTEN, _EVENTS_OF_JOB),
    name="tracker",
)

_READ_AT_ONCE = 100
_SERVICE_TENANT = "-"  # no tenant can have this name
_TOKEN_KEY = Key("secrets", _SERVICE_TENANT, "resume_token_key")

ReadItems = Callable[[Sequence[bytes]], list[tuple[str, ItemState]]]
"""Returns the items of encoded events with their states, in order."""


class Repository:
    """Reads and writes the tracker's documents.

    Errors: those of the store, and ABORTED when another tracker has written the job meanwhile.
    """

    def __init__(
        self,
        store: DocumentStore,
        *,
        clock: Clock,
        retention: timedelta,
        encoder: EventEncoder,
        read_items: ReadItems,
    ) -> None:
        """Use a store.

        Args:
            store: Opened with `SCHEMA`.
            clock: Dates what is written.
            retention: How long what is written is kept.
            encoder: Makes the events of the logs that are loaded.
            read_items: Reads them back.
        """
        self._store = store
        self._clock = clock
        self._retention = retention
        self._encoder = encoder
        self._read_items = read_items

    async def token_key(self) -> bytes:
        """Return the key that signs resume tokens, the same for every tracker on this store."""
        fresh = secrets.token_bytes(KEY_BYTES)

        def decide(found: Sequence[Document | None]) -> Decision[bytes]:
            if found[0] is None:
                return Decision(fresh, (Create(_TOKEN_KEY, {"key": fresh}),))
            return Decision(bytes(found[0].data["key"]))  # type: ignore[arg-type]  # written above as bytes

        return await self._store.transact((_TOKEN_KEY,), decide)

    async def progress(self, tenant: str, job_id: str) -> JobProgress | None:
        """Return a job's snapshot; None if there is no such job."""
        found = await self._store.get(_job_key(tenant, job_id))
        return None if found is None else read_progress(found.data).snapshot()

    async def progress_of(self, jobs: Sequence[tuple[str, str]]) -> list[JobProgress | None]:
        """Return the snapshots of several jobs, each a tenant and a job id."""
        found = await self._store.get_many([_job_key(*each) for each in jobs])
        return [None if each is None else read_progress(each.data).snapshot() for each in found]

    async def load(self, tenant: str, job_id: str) -> JobLog:
        """Return a job's log as it is stored; an empty one if there is none."""
        found = await self._store.get(_job_key(tenant, job_id))
        if found is None:
            return JobLog(ProgressFold(job_id, secrets.token_hex(8)), self._encoder)
        fold = read_progress(found.data)
        count = int(found.data["producer_count"])  # type: ignore[arg-type]  # written as an int
        items: dict[str, ItemState] = {}
        tail: Chunk | None = None
        for start in range(0, chunk_number(fold.last_sequence) + 1, _READ_AT_ONCE):
            for chunk in await self._chunks(tenant, fold.job_id, fold.log_id, start):
                items.update(self._read_items(chunk.events))
                tail = chunk if chunk.last == fold.last_sequence and not chunk.is_full else None
        return JobLog(
            fold,
            self._encoder,
            producers=await self._producers(tenant, fold, count),
            items=items,
            tail=tail,
        )

    async def _producers(self, tenant: str, fold: ProgressFold, count: int) -> Producers:
        numbers = range(-(-count // PAGE_PRODUCERS))
        keys = [_page_key(tenant, fold.job_id, fold.log_id, number) for number in numbers]
        found = await self._store.get_many(keys)
        pages = [
            blank_page(number) if each is None else read_page(number, each.data)
            for number, each in enumerate(found)
        ]
        return Producers(pages)

    async def _chunks(
        self, tenant: str, job_id: str, log_id: str, start: int, count: int = _READ_AT_ONCE
    ) -> list[Chunk]:
        keys = [_chunk_key(tenant, job_id, log_id, number) for number in range(start, start + count)]
        found = await self._store.get_many(keys)
        return [read_chunk(each.data) for each in found if each is not None]

    async def commit(self, tenant: str, log: JobLog, changes: LogChanges) -> None:
        """Make changes durable, together; they must have been made to the stored revision.

        Raises:
            ServiceError: ABORTED if the stored revision is another.
        """
        key = _job_key(tenant, changes.progress.job_id)
        writes = self._writes(tenant, log, changes)
        expected = (changes.progress.log_id, changes.progress.revision - 1)

        def decide(found: Sequence[Document | None]) -> Decision[None]:
            current = found[0]
            if current is None:
                matches = expected[1] == 0
            else:
                matches = (current.data["log_id"], current.data["revision"]) == expected
            if not matches:
                raise aborted("JOB_CHANGED", "another tracker has written this job")
            return Decision(None, writes)

        await self._store.transact((key,), decide)

    def _writes(self, tenant: str, log: JobLog, changes: LogChanges) -> list[Write]:
        now = self._clock.now()
        expire = now + self._retention
        progress = changes.progress
        job, name = progress.job_id, progress.log_id
        fields = progress_fields(changes.fold, progress, now=now, expire=expire)
        fields["producer_count"] = len(log.producers)
        writes: list[Write] = [Set(_job_key(tenant, job), fields)]
        writes.extend(
            Set(_page_key(tenant, job, name, page.number), page_fields(page, expire=expire))
            for page in changes.pages
        )
        writes.extend(
            Set(
                _chunk_key(tenant, job, name, chunk_number(chunk.first)),
                chunk_fields(job, chunk, expire=expire),
            )
            for chunk in changes.chunks
        )
        return writes

    async def events_after(
        self, tenant: str, progress: JobProgress, sequence: int, *, chunks: int
    ) -> list[Chunk]:
        """Return the chunks that hold the events after a number, at most so many, without a gap.

        Empty if the next event is not kept, or not there yet.
        """
        start = chunk_number(sequence + 1)
        found = await self._chunks(tenant, progress.job_id, progress.log_id, start, chunks)
        run: list[Chunk] = []
        wanted = sequence + 1
        for chunk in found:
            if not chunk.first <= wanted <= chunk.last:
                break
            run.append(chunk)
            wanted = chunk.last + 1
        return run

    async def oldest_sequence(self, tenant: str, progress: JobProgress) -> int:
        """Return the number of the oldest event kept; one past the last when none is."""
        page = await self._store.query(
            Query(_EVENTS_OF_JOB, {"job_id": progress.job_id}, tenant=tenant, limit=1)
        )
        return read_chunk(page.documents[0].data).first if page.documents else progress.last_sequence + 1

    async def list(
        self, tenant: str, *, user: str, state: int, limit: int, cursor: str | None
    ) -> ProgressPage:
        """Return a page of a tenant's snapshots, the latest created first.

        Args:
            tenant: Whose.
            user: Only this user's; empty for all.
            state: Only those in this state; 0 for all. Ignored when `user` is given.
            limit: The most to return.
            cursor: Of the page before, with the same user and state.
        """
        shape, equals = _listing(user, state)
        page = await self._store.query(Query(shape, equals, tenant=tenant, limit=limit, cursor=cursor))
        return _progress_page(page)

    async def written_since(self, tenant: str, since: datetime, cursor: str | None) -> ProgressPage:
        """Return a page of the snapshots written at or after a time, the earliest first."""
        return _progress_page(
            await self._store.query(
                Query(_JOBS_WRITTEN, tenant=tenant, lower=since, limit=_READ_AT_ONCE, cursor=cursor)
            )
        )


def _listing(user: str, state: int) -> tuple[QueryShape, dict[str, str | int]]:
    if user:
        return _JOBS_OF_USER, {"user": user}
    if state:
        return _JOBS_IN_STATE, {"state": state}
    return _ALL_JOBS, {}


def _progress_page(page: Page) -> ProgressPage:
    return ProgressPage(
        tuple(read_progress(each.data).snapshot() for each in page.documents), page.next_cursor
    )


def _job_key(tenant: str, job_id: str) -> Key:
    return Key("jobs", tenant, _hashed(job_id))  # a job's name is its producers' choice: any text


def _page_key(tenant: str, job_id: str, log_id: str, number: int) -> Key:
    return Key("producers", tenant, _hashed(job_id, log_id, str(number)))


def _chunk_key(tenant: str, job_id: str, log_id: str, number: int) -> Key:
    return Key("events", tenant, _hashed(job_id, log_id, str(number)))


def _hashed(*names: str) -> str:
    return hashlib.blake2b("\0".join(names).encode(), digest_size=16).hexdigest()
