"""Jobs and items as documents: a job is one small document, its items lie in chunks of a hundred."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from service_common.errors import ErrorKind, FieldViolation, ServiceError, aborted, not_found
from service_common.storage import (
    MAX_WRITES,
    Create,
    Decision,
    Document,
    DocumentStore,
    Query,
    Set,
    Write,
)

from parallel_processor.jobs.item import Item, ItemCounts
from parallel_processor.jobs.job import Job, JobState, is_settled
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.records import (
    Fields,
    item_from_fields,
    item_to_fields,
    job_from_fields,
    job_to_fields,
    shard_from_fields,
    shard_to_fields,
)
from parallel_processor.jobs.shard import ItemSource, Shard, ShardPhase
from parallel_processor.repository import schema
from parallel_processor.repository.removing import remove

_READ_AT_ONCE = 20


class JobRepository:
    """Stores jobs and items."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return a job.

        Raises:
            ServiceError: NOT_FOUND if the tenant has none of this id.
        """
        document = await self._store.get(schema.job_key(tenant, job_id)) if job_id else None
        return _job(document, job_id)

    async def create(self, job: Job) -> None:
        """Store a new job."""
        await self._store.commit([Create(schema.job_key(job.tenant, job.job_id), job_to_fields(job))])

    async def change(self, tenant: str, job_id: str, transition: Callable[[Job], Job]) -> Job:
        """Apply a transition to a job and return what it became.

        Raises:
            ServiceError: NOT_FOUND, or what the transition raises.
        """
        key = schema.job_key(tenant, job_id)

        def decide(documents: Sequence[Document | None]) -> Decision[Job]:
            before = _job(documents[0], job_id)
            after = transition(before)
            return Decision(after, [Set(key, job_to_fields(after))] if after != before else [])

        return await self._store.transact([key], decide)

    async def list_page(
        self, tenant: str, state: JobState | None, *, limit: int, cursor: str | None
    ) -> tuple[list[Job], str | None]:
        """Return a page of a tenant's jobs, the latest created first, and the cursor of the next.

        Raises:
            ServiceError: INVALID_ARGUMENT, reason INVALID_PAGE_TOKEN, if the cursor is of another listing.
        """
        shape = schema.JOBS_BY_STATE if state else schema.JOBS_BY_TIME
        equals = {"state": state.value} if state else {}
        try:
            page = await self._store.query(Query(shape, equals, tenant, limit=limit, cursor=cursor))
        except ServiceError as error:
            if cursor is None or error.kind is not ErrorKind.INVALID_ARGUMENT:
                raise
            raise _bad_page_token() from error
        jobs = [job_from_fields(each.key.tenant, each.data) for each in page.documents]
        return [each for each in jobs if not each.deleted], page.next_cursor

    async def unreported(self, limit: int) -> list[Job]:
        """Return jobs whose last change of state may not have reached the tracker."""
        page = await self._store.query(Query(schema.JOBS_UNREPORTED, {"unreported": True}, limit=limit))
        return [job_from_fields(each.key.tenant, each.data) for each in page.documents]

    async def open_page(self, *, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """Return a page of all tenants' jobs that are started and not finished, the latest stirred first."""
        page = await self._store.query(Query(schema.JOBS_OPEN, {"open": True}, limit=limit, cursor=cursor))
        return [job_from_fields(each.key.tenant, each.data) for each in page.documents], page.next_cursor

    async def due(self, now: datetime) -> AsyncIterator[Job]:
        """Yield jobs that a processor must look after by now, the longest due first."""
        cursor: str | None = None
        while True:
            page = await self._store.query(Query(schema.JOBS_DUE, upper=now, limit=50, cursor=cursor))
            for each in page.documents:
                yield job_from_fields(each.key.tenant, each.data)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def finished_before(self, then: datetime, *, limit: int) -> list[Job]:
        """Return jobs that finished by a time, the longest finished first."""
        page = await self._store.query(Query(schema.JOBS_BY_FINISH, upper=then, limit=limit))
        return [job_from_fields(each.key.tenant, each.data) for each in page.documents]

    async def remove(self, job: Job) -> None:
        """Remove a deleted job's documents; see `remove`."""
        await remove(self._store, job, self.shards_in)

    async def mark_reported(self, job: Job) -> None:
        """Note that the tracker has acknowledged a job's revision; a later revision stays unreported."""
        await self.change(
            job.tenant,
            job.job_id,
            lambda now: replace(now, unreported=False) if now.revision == job.revision else now,
        )

    async def live(self, job: Job) -> tuple[Job, ItemCounts, Usage, int]:
        """Return a job as it is now, what its begun shards add to its own totals, and what calls may cost.

        The shards are read before the job, so that one that is settled meanwhile counts exactly once.
        """
        shards = {
            shard.number: shard
            for phase in (ShardPhase.BEGUN, ShardPhase.FINISHED)
            async for shard in self.shards_in(job, phase)
        }
        job = await self.get(job.tenant, job.job_id)
        counts, usage, reserved = ItemCounts(), Usage(), 0
        for number, shard in shards.items():
            if not is_settled(job, number):
                counts, usage = counts + shard.counts, usage + shard.usage
                reserved += shard.reserved
        return job, counts, usage, reserved

    async def shards_in(self, job: Job, phase: ShardPhase) -> AsyncIterator[Shard]:
        """Yield a job's shards of one phase, in their order."""
        cursor: str | None = None
        while True:
            query = Query(
                schema.SHARDS_OF_JOB,
                {"job_id": job.job_id, "phase": phase.value},
                job.tenant,
                limit=200,
                cursor=cursor,
            )
            page = await self._store.query(query)
            for each in page.documents:
                yield shard_from_fields(each.key.tenant, each.data)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def add_items(
        self, job: Job, chunks: Sequence[Sequence[Item]], by_content_type: Mapping[str, int]
    ) -> Job:
        """Append chunks of items to a draft job.

        Args:
            job: The job as last seen.
            chunks: The items, in the chunks they are stored in.
            by_content_type: How many items of each content type the job has with them.

        Raises:
            ServiceError: ABORTED if the job has changed since.
        """
        key = schema.job_key(job.tenant, job.job_id)
        added = sum(map(len, chunks))
        creates: list[Write] = [
            Create(
                schema.item_chunk_key(job.tenant, job.job_id, job.chunk_count + number),
                {"items": [item_to_fields(each) for each in chunk]},
            )
            for number, chunk in enumerate(chunks)
        ]

        def decide(documents: Sequence[Document | None]) -> Decision[Job]:
            now = _job(documents[0], job.job_id)
            if now.chunk_count != job.chunk_count or now.state is not job.state:
                raise aborted("JOB_CHANGED", f"job {job.job_id} was changed by someone else")
            after = replace(
                now,
                chunk_count=now.chunk_count + len(chunks),
                item_count=now.item_count + added,
                items_by_content_type=by_content_type,
            )
            return Decision(after, [*creates, Set(key, job_to_fields(after))])

        return await self._store.transact([key], decide)

    async def chunks(self, job: Job, *, start: int = 0) -> AsyncIterator[list[Item]]:
        """Yield a job's items, chunk by chunk in order, a few read at a time however many there are."""
        for first in range(start, job.chunk_count, _READ_AT_ONCE):
            numbers = range(first, min(first + _READ_AT_ONCE, job.chunk_count))
            keys = [schema.item_chunk_key(job.tenant, job.job_id, number) for number in numbers]
            for document in await self._store.get_many(keys):
                yield [item_from_fields(each) for each in _items(_chunk(document, job))]

    async def read_chunks(self, job: Job, numbers: Sequence[int]) -> list[list[Item]]:
        """Return some of a job's chunks of items, a few read at a time."""
        chunks: list[list[Item]] = []
        for start in range(0, len(numbers), _READ_AT_ONCE):
            keys = [
                schema.item_chunk_key(job.tenant, job.job_id, number)
                for number in numbers[start : start + _READ_AT_ONCE]
            ]
            chunks += [
                [item_from_fields(each) for each in _items(_chunk(document, job))]
                for document in await self._store.get_many(keys)
            ]
        return chunks

    async def read_items(self, job: Job, sources: Sequence[ItemSource]) -> list[Item]:
        """Return the items that lie at the places named, in order."""
        keys = [schema.item_chunk_key(job.tenant, job.job_id, each.chunk) for each in sources]
        documents = [
            document
            for start in range(0, len(keys), _READ_AT_ONCE)
            for document in await self._store.get_many(keys[start : start + _READ_AT_ONCE])
        ]
        items: list[Item] = []
        for source, document in zip(sources, documents, strict=True):
            records = _items(_chunk(document, job))
            items += [item_from_fields(records[position]) for position in source.positions]
        return items

    async def start(self, job: Job, shards: Sequence[Shard], transition: Callable[[Job], Job]) -> Job:
        """Lay out a job's shards and apply the transition that starts it.

        Shards beyond one transaction are written first; they cannot be claimed while the job is a draft.

        Raises:
            ServiceError: ABORTED if the job has changed since, or what the transition raises.
        """
        key = schema.job_key(job.tenant, job.job_id)
        writes: list[Write] = [
            Set(schema.shard_key(each.tenant, each.job_id, each.number), shard_to_fields(each))
            for each in shards
        ]
        last = len(writes) - len(writes) % (MAX_WRITES - 1)
        for start in range(0, last, MAX_WRITES - 1):
            part = writes[start : start + MAX_WRITES - 1]
            await self._store.transact([key], partial(_while_draft, part))

        def decide(documents: Sequence[Document | None]) -> Decision[Job]:
            now = _job(documents[0], job.job_id)
            if now.state is not JobState.DRAFT:
                return Decision(transition(now))
            if now.chunk_count != job.chunk_count:
                raise aborted("JOB_CHANGED", f"items were added to job {job.job_id} while it was started")
            after = transition(now)
            return Decision(after, [*writes[last:], Set(key, job_to_fields(after))])

        return await self._store.transact([key], decide)


def _job(document: Document | None, job_id: str) -> Job:
    job = None if document is None else job_from_fields(document.key.tenant, document.data)
    if job is None or job.deleted:
        raise _no_such_job(job_id)
    return job


def _while_draft(writes: Sequence[Write], documents: Sequence[Document | None]) -> Decision[None]:
    """Write only as long as the job is a draft: once someone else has started it, its shards are live."""
    job = documents[0]
    draft = job is not None and job.data["state"] == JobState.DRAFT.value
    return Decision(None, writes if draft else [])


def _bad_page_token() -> ServiceError:
    violation = FieldViolation("page_token", "is not one that was given out for this listing")
    words = f"{violation.field} {violation.description}"
    return ServiceError(ErrorKind.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", words, violations=(violation,))


def _chunk(document: Document | None, job: Job) -> Document:
    if document is None:
        raise not_found("JOB_NOT_FOUND", f"items of job {job.job_id} are gone")
    return document


def _no_such_job(job_id: str) -> ServiceError:
    return not_found("JOB_NOT_FOUND", f"there is no job {job_id!r}")


def _items(document: Document) -> list[Fields]:
    items: list[Fields] = document.data["items"]  # type: ignore[assignment]  # written by add_items
    return items
