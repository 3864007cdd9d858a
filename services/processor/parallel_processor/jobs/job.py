"""A job and how it comes to its end: draft, queued, running, settled shard by shard; see also `life.py`."""

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
    PAUSED = "PAUSED"

    @property
    def terminal(self) -> bool:
        """Whether no item will be begun any more, unless failed ones are retried."""
        return self not in (JobState.DRAFT, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

    @property
    def started(self) -> bool:
        """Whether its items are being worked on, or will be."""
        return self in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)


class Priority(IntEnum):
    """How urgent a job is; a higher number goes first."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


@dataclass(frozen=True, slots=True)
class StateReason:
    """Why a job is in its state: a reason of the registry, and words that say what to do."""

    reason: str
    message: str


DEADLINE_EXCEEDED = StateReason("DEADLINE_EXCEEDED", "the job's deadline has passed")


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
        state_reason: Why it is in its state; None when that goes without saying.
        begun: Whether an item was ever begun.
        probe_at: When a paused job goes on by itself; None when it does not.
        unarranged_since: Since when its shards may not fit it: in line though it is paused, parked though it
            is not, of another urgency, or unfinished though it is over; None when they fit.
        retries: Rounds in which failed items were set to be worked on again.
        deleted: Whether it is gone for everybody, and its documents are being removed.
        granted: What its shards that are not settled were given to spend.
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
    state_reason: StateReason | None = None
    begun: bool = False
    probe_at: datetime | None = None
    unarranged_since: datetime | None = None
    retries: int = 0
    deleted: bool = False
    granted: int = 0


@dataclass(frozen=True, slots=True)
class ShardTotals:
    """What a finished shard adds to its job.

    Attributes:
        number: Which shard.
        counts: Its items by state.
        usage: What they took.
        late: Whether some of them were given up for the job's deadline.
        granted: What it was given to spend, which is no longer set aside.
    """

    number: int
    counts: ItemCounts
    usage: Usage
    late: bool = False
    granted: int = 0


def started(job: Job, *, shard_count: int, now: datetime, traceparent: str | None) -> Job:
    """Return the job with its shards laid out and queued.

    Raises:
        ServiceError: FAILED_PRECONDITION if it was cancelled, is empty, or its deadline has passed.
    """
    if job.state is JobState.CANCELLED:
        raise failed_precondition("JOB_CANCELLED", f"job {job.job_id} was cancelled")
    if job.state is not JobState.DRAFT:
        return job
    if job.item_count == 0:
        raise failed_precondition("JOB_EMPTY", f"job {job.job_id} has no items; add some with BatchAddItems")
    if is_late(job, now):
        raise failed_precondition("DEADLINE_EXCEEDED", f"the deadline of job {job.job_id} has passed")
    return changed(
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
    return changed(job, state=JobState.RUNNING, begun=True) if job.state is JobState.QUEUED else job


def settle(job: Job, shards: Iterable[ShardTotals], now: datetime) -> Job:
    """Return the job with the totals of finished shards added, each once; finished when none is left."""
    settled = bytearray(job.settled)
    counts, usage, granted, late = job.counts, job.usage, job.granted, False
    for shard in shards:
        byte, bit = divmod(shard.number, 8)
        if settled[byte] >> bit & 1:
            continue
        settled[byte] |= 1 << bit
        counts, usage = counts + shard.counts, usage + shard.usage
        granted, late = granted - shard.granted, late or shard.late
    job = replace(job, settled=bytes(settled), counts=counts, usage=usage, granted=granted)
    job = given_up_late(job, now) if late else judged(job, counts.failed, now)
    if unsettled_count(job) or job.finish_time is not None:
        return job
    state = _final_state(job)
    return changed(
        job, state=state, state_reason=_kept(job), finish_time=now, probe_at=None, unarranged_since=None
    )


def judged(job: Job, failed: int, now: datetime) -> Job:
    """Return the job given up if more of its items have failed than its terms tolerate; else as it is."""
    if not job.state.started or is_late(job, now) or job.terms.tolerates(failed, job.item_count):
        return job
    words = f"{failed} of its {job.item_count} items failed; the rest was given up"
    why = StateReason("TOO_MANY_FAILURES", words)
    return changed(job, state=JobState.FAILED, state_reason=why, probe_at=None, unarranged_since=now)


def given_up_late(job: Job, now: datetime) -> Job:
    """Return the job with the rest of its items given up for its deadline; as it is if that has happened."""
    if not job.state.started or job.state_reason == DEADLINE_EXCEEDED:
        return job
    state = JobState.QUEUED if job.state is JobState.QUEUED else JobState.RUNNING
    return changed(job, state=state, state_reason=DEADLINE_EXCEEDED, probe_at=None, unarranged_since=now)


def is_late(job: Job, now: datetime) -> bool:
    """Whether a job's deadline has passed."""
    return job.terms.deadline is not None and job.terms.deadline <= now


def is_settled(job: Job, number: int) -> bool:
    """Whether a shard's totals are part of the job's."""
    byte, bit = divmod(number, 8)
    return byte < len(job.settled) and bool(job.settled[byte] >> bit & 1)


def unsettled_count(job: Job) -> int:
    """Return how many of a started job's shards have totals that are not part of it yet."""
    return job.shard_count - int.from_bytes(job.settled).bit_count()


def _final_state(job: Job) -> JobState:
    if job.state.terminal:
        return job.state
    if job.counts.succeeded == job.item_count:
        return JobState.SUCCEEDED
    return JobState.PARTIALLY_SUCCEEDED if job.counts.succeeded else JobState.FAILED


def _kept(job: Job) -> StateReason | None:
    """Return the reason that outlives the job's end: why it ended early, not why it had been paused."""
    return None if job.state is JobState.PAUSED else job.state_reason


def changed(job: Job, **changes: object) -> Job:
    """Return the job with another state of affairs, which is to be reported."""
    return replace(job, revision=job.revision + 1, unreported=True, **changes)  # type: ignore[arg-type]  # fields by name
