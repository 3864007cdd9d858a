"""Jobs on their way in: created, filled with items, cut into shards and started."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import orjson
from service_common.clock import Clock
from service_common.errors import (
    ErrorKind,
    ServiceError,
    already_exists,
    failed_precondition,
    resource_exhausted,
)
from service_common.storage import SAFE_COMMIT_BYTES

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.grouping import SHARD_TARGET_ITEMS, ItemPlace, check_dependencies, pack_shards
from parallel_processor.jobs.item import Item
from parallel_processor.jobs.job import Job, JobState, started
from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.jobs.records import item_to_fields, job_from_fields, job_to_fields
from parallel_processor.jobs.shard import ItemSource, Shard, new_shard
from parallel_processor.repository import JobRepository, RequestRepository
from parallel_processor.running.reporting import job_report

MAX_ITEMS = 1_000_000
_CHUNK_ITEMS = SHARD_TARGET_ITEMS
_CHUNK_BYTES = 600_000
_INDEXES_KEPT = 16
REFUSED_ITEM = Item("", PieceSpec())
"""Stands for an item that validation refused, so that positions stay those of the request."""
_TRIES = 5


@dataclass(slots=True)
class _Index:
    """What is known of a draft job's items, up to a number of chunks."""

    chunks: int = 0
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    content_types: Counter[str] = field(default_factory=Counter)

    def add(self, items: Sequence[Item]) -> None:
        """Take in the items of the next chunk."""
        self.chunks += 1
        for item in items:
            self.fingerprints[item.item_id] = _fingerprint(item)
            self.content_types[_content_type(item)] += 1


class Intake:
    """Takes jobs in.

    Its mutable state: the indexes of the draft jobs that were filled last, and a lock for each.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        requests: RequestRepository,
        clock: Clock,
        report: Callable[..., None],
        on_started: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._requests = requests
        self._clock = clock
        self._report = report
        self._on_started = on_started
        self._indexes: OrderedDict[str, _Index] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    def new_job(self, **fields: object) -> Job:
        """Return a job that is not stored yet."""
        return Job(job_id=uuid4().hex, create_time=self._clock.now(), **fields)  # type: ignore[arg-type]  # a job's fields, by name

    async def create(self, job: Job, *, request_id: str, body: bytes) -> Job:
        """Store a new job; a repeat of a request returns the job it made before.

        Raises:
            ServiceError: ALREADY_EXISTS if the request_id was used with another body.
        """
        if request_id:
            kept = await self._requests.claim(
                job.tenant,
                f"CreateJob/{request_id}",
                body_hash=hashlib.sha256(body).hexdigest(),
                answer=job_to_fields(job),
                now=self._clock.now(),
            )
            job = job_from_fields(job.tenant, kept)
        try:
            with spent_on(job.job_id):
                await self._jobs.create(job)
        except ServiceError as error:
            if error.kind is not ErrorKind.ALREADY_EXISTS:
                raise
            return await self._jobs.get(job.tenant, job.job_id)
        self._report(job_report(job, self._clock.now()))
        return job

    async def add_items(
        self, tenant: str, job_id: str, items: Sequence[Item], refused: Mapping[int, ServiceError]
    ) -> list[bool | ServiceError]:
        """Add items to a draft job.

        Args:
            tenant: Whose job it is.
            job_id: The job.
            items: The items; those that are refused already count for nothing.
            refused: What is wrong with some of them, by position.

        Returns:
            Per item whether it was part of the job already, or why it is refused.
        """
        lock = self._locks.setdefault(job_id, asyncio.Lock())
        async with lock:
            for attempt in range(_TRIES):
                try:
                    with spent_on(job_id):
                        return await self._add_items(tenant, job_id, items, dict(refused))
                except ServiceError as error:
                    if error.kind is not ErrorKind.ABORTED or attempt == _TRIES - 1:
                        raise
        raise AssertionError("the last try returns or raises")

    async def _add_items(
        self, tenant: str, job_id: str, items: Sequence[Item], refused: dict[int, ServiceError]
    ) -> list[bool | ServiceError]:
        job = await self._jobs.get(tenant, job_id)
        if job.state is not JobState.DRAFT:
            raise failed_precondition("JOB_NOT_DRAFT", f"job {job_id} was started; create another one")
        index = await self._index(job)
        known = _recognise(items, index, refused)
        refused |= check_dependencies(
            [*items], index.fingerprints.keys(), {**refused, **dict.fromkeys(known, _SEEN)}
        )
        refused |= _twins_of_refused(items, known, refused)
        fresh = [item for at, item in enumerate(items) if at not in refused and at not in known]
        if job.item_count + len(fresh) > MAX_ITEMS:
            raise resource_exhausted("TOO_MANY_ITEMS", f"a job has at most {MAX_ITEMS} items")
        for chunks in _commits(fresh):
            content_types = index.content_types.copy()
            for chunk in chunks:
                content_types.update(map(_content_type, chunk))
            job = await self._jobs.add_items(job, chunks, dict(content_types))
            for chunk in chunks:
                index.add(chunk)
        return [refused.get(at, at in known) for at in range(len(items))]

    async def _index(self, job: Job) -> _Index:
        """Return what is known of a job's items, after reading what others have added."""
        index = self._indexes.pop(job.job_id, None) or _Index()
        if index.chunks > job.chunk_count:
            index = _Index()
        async for chunk in self._jobs.chunks(job, start=index.chunks):
            index.add(chunk)
        self._indexes[job.job_id] = index
        while len(self._indexes) > _INDEXES_KEPT:
            self._locks.pop(self._indexes.popitem(last=False)[0], None)
        return index

    async def start(self, tenant: str, job_id: str, *, traceparent: str | None) -> Job:
        """Cut a draft job into shards and start it; a started job is returned as it is."""
        now = self._clock.now()
        with spent_on(job_id):
            job = await self._jobs.get(tenant, job_id)
            shards = await self._shards(job, now) if job.state is JobState.DRAFT else []
            after = await self._jobs.start(
                job,
                shards,
                lambda each: started(each, shard_count=len(shards), now=now, traceparent=traceparent),
            )
        if after.revision != job.revision:
            self._indexes.pop(job_id, None)
            self._locks.pop(job_id, None)
            self._report(job_report(after, now))
            self._on_started()
        return after

    async def _shards(self, job: Job, now: datetime) -> list[Shard]:
        places: list[ItemPlace] = []
        number = 0
        async for chunk in self._jobs.chunks(job):
            for position, item in enumerate(chunk):
                needs = tuple(each.item_id for each in item.depends_on)
                places.append(ItemPlace(item.item_id, number, position, needs))
            number += 1
        return [
            new_shard(
                job_id=job.job_id,
                tenant=job.tenant,
                number=number,
                priority=job.priority,
                sources=_sources(packed),
                now=now,
            )
            for number, packed in enumerate(pack_shards(places))
        ]


_SEEN = already_exists("ITEM_KNOWN", "the item is part of the job")


def _recognise(items: Sequence[Item], index: _Index, refused: dict[int, ServiceError]) -> set[int]:
    """Return the positions of items that are part of the job already; refuses those with another body."""
    fingerprints: dict[str, bytes] = {}
    known: set[int] = set()
    for at, item in enumerate(items):
        if at in refused:
            continue
        mine = _fingerprint(item)
        earlier = index.fingerprints.get(item.item_id) or fingerprints.get(item.item_id)
        if earlier is None:
            fingerprints[item.item_id] = mine
        elif earlier == mine:
            known.add(at)
        else:
            refused[at] = already_exists(
                "ITEM_ID_REUSED", f"items[{at}].item_id: {item.item_id!r} is an item with another body"
            )
    return known


def _twins_of_refused(
    items: Sequence[Item], known: set[int], refused: Mapping[int, ServiceError]
) -> dict[int, ServiceError]:
    """Refuse the repeats, within one batch, of items that are refused for their dependencies."""
    errors = {items[at].item_id: error for at, error in refused.items()}
    return {at: errors[items[at].item_id] for at in known if items[at].item_id in errors}


def _fingerprint(item: Item) -> bytes:
    return hashlib.sha256(_encoded(item)).digest()[:16]


def _encoded(item: Item) -> bytes:
    return orjson.dumps(item_to_fields(item), option=orjson.OPT_SORT_KEYS)


def _content_type(item: Item) -> str:
    return item.spec.content_type or item.spec.template_id or "text"


def _commits(items: Sequence[Item]) -> Iterator[list[list[Item]]]:
    """Cut items into chunks, and these into what one commit takes."""
    commit: list[list[Item]] = []
    total = 0
    for chunk, size in _chunks(items):
        if commit and total + size > SAFE_COMMIT_BYTES:
            yield commit
            commit, total = [], 0
        commit.append(chunk)
        total += size
    if commit:
        yield commit


def _chunks(items: Sequence[Item]) -> Iterator[tuple[list[Item], int]]:
    """Cut items into chunks of bounded count and size; yields each with its size."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        weight = len(_encoded(item))
        if chunk and (len(chunk) >= _CHUNK_ITEMS or size + weight > _CHUNK_BYTES):
            yield chunk, size
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield chunk, size


def _sources(places: Sequence[ItemPlace]) -> list[ItemSource]:
    """Name the places of a shard's items: runs of items of one chunk, in order."""
    sources: list[ItemSource] = []
    for place in places:
        if sources and sources[-1].chunk == place.chunk:
            sources[-1] = ItemSource(place.chunk, (*sources[-1].positions, place.position))
        else:
            sources.append(ItemSource(place.chunk, (place.position,)))
    return sources
