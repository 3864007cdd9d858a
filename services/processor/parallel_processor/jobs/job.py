"""A job's life: draft, queued, running, and one of four ends; every change of state is made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum

from service_common.errors import failed_precondition

from parallel_processor.jobs.item import ItemCounts
from parallel_processor.jobs.piece import NO_LABELS, CachePolicy, Usage
from parallel_processor.jobs.terms import NO_TERMS, Terms


class JobState(Enum):
    """Where a job is in its life."""

    DRAFT = "DRAFT"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (JobState.DRAFT, JobState.QUEUED, JobState.RUNNING)


class Priority(IntEnum):
    """How urgent a job is; a higher number goes first."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored.

    Attributes:
        job_id: The id.
        tenant: Whose it is.
        user: Who created it.
        create_time: When.
        display_name: A title for people.
        state: Where it is in its life.
        priority: How urgent it is.
        labels: For people and filters.
        model: The model of items that name none; empty for the default.
        cache_policy: How items use the cache that do not say.
        terms: What it may cost, by when, its share, when to give up.
        item_count: Items it has.
        items_by_content_type: Items of each content type, as far as their owner named it.
        chunk_count: Documents its items are stored in.
        shard_count: Shards it was cut into when it was started.
        settled: One bit per shard whose totals are in `counts` and `usage`.
        counts: Totals of the settled shards.
        usage: Totals of the settled shards.
        start_time: When it was started.
        stir_time: When workers had reason to look at it: at its start, and when its terms changed.
        finish_time: When its last shard settled.
        traceparent: The trace of the call that started it.
        revision: Counts its changes of state; numbers its reports of progress.
        unreported: Whether its last change of state may not have reached the tracker.
    """

    job_id: str
    tenant: str
    user: str
    create_time: datetime
    display_name: str = ""
    state: JobState = JobState.DRAFT
    priority: Priority = Priority.NORMAL
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    model: str = ""
    cache_policy: CachePolicy = CachePolicy.USE
    terms: Terms = NO_TERMS
    item_count: int = 0
    items_by_content_type: Mapping[str, int] = field(default_factory=dict)
    chunk_count: int = 0
    shard_count: int = 0
    settled: bytes = b""
    counts: ItemCounts = field(default_factory=ItemCounts)
    usage: Usage = field(default_factory=Usage)
    start_time: datetime | None = None
    stir_time: datetime | None = None
    finish_time: datetime | None = None
    traceparent: str | None = None
    revision: int = 1
    unreported: bool = True


@dataclass(frozen=True, slots=True)
class ShardTotals:
    """What a finished shard adds to its job."""

    number: int
    counts: ItemCounts
    usage: Usage


def started(job: Job, *, shard_count: int, now: datetime, traceparent: str | None) -> Job:
    """Return the job with its shards laid out and queued.

    Raises:
        ServiceError: FAILED_PRECONDITION if it was cancelled or is empty.
    """
    if job.state is JobState.CANCELLED:
        raise failed_precondition("JOB_CANCELLED", f"job {job.job_id} was cancelled")
    if job.state is not JobState.DRAFT:
        return job
    if job.item_count == 0:
        raise failed_precondition("JOB_EMPTY", f"job {job.job_id} has no items; add some with BatchAddItems")
    return _changed(
        job,
        state=JobState.QUEUED,
        shard_count=shard_count,
        settled=bytes((shard_count + 7) // 8),
        start_time=now,
        stir_time=now,
        traceparent=traceparent,
    )


def running(job: Job) -> Job:
    """Return the job with its first item begun; a job beyond that as it is."""
    return _changed(job, state=JobState.RUNNING) if job.state is JobState.QUEUED else job


def cancelled(job: Job, now: datetime) -> Job:
    """Return the job stopped; a finished job as it is."""
    if job.state.terminal:
        return job
    if job.state is JobState.DRAFT:
        counts = ItemCounts(cancelled=job.item_count)
        return _changed(job, state=JobState.CANCELLED, finish_time=now, counts=counts)
    return _changed(job, state=JobState.CANCELLED)


def settle(job: Job, shards: Iterable[ShardTotals], now: datetime) -> Job:
    """Return the job with the totals of finished shards added, each once; finished when none is left."""
    settled = bytearray(job.settled)
    counts, usage = job.counts, job.usage
    for shard in shards:
        byte, bit = divmod(shard.number, 8)
        if settled[byte] >> bit & 1:
            continue
        settled[byte] |= 1 << bit
        counts, usage = counts + shard.counts, usage + shard.usage
    job = replace(job, settled=bytes(settled), counts=counts, usage=usage)
    if unsettled_count(job) or job.finish_time is not None:
        return job
    return _changed(job, state=_final_state(job), finish_time=now)


def is_settled(job: Job, number: int) -> bool:
    """Whether a shard's totals are part of the job's."""
    byte, bit = divmod(number, 8)
    return byte < len(job.settled) and bool(job.settled[byte] >> bit & 1)


def unsettled_count(job: Job) -> int:
    """Return how many of a started job's shards have totals that are not part of it yet."""
    return job.shard_count - int.from_bytes(job.settled).bit_count()


def _final_state(job: Job) -> JobState:
    if job.state is JobState.CANCELLED:
        return JobState.CANCELLED
    if job.counts.succeeded == job.item_count:
        return JobState.SUCCEEDED
    return JobState.PARTIALLY_SUCCEEDED if job.counts.succeeded else JobState.FAILED


def _changed(job: Job, **changes: object) -> Job:
    return replace(job, revision=job.revision + 1, unreported=True, **changes)  # type: ignore[arg-type]  # fields by name
