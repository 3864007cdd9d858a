"""Failed items run again: their shards are opened anew, and take their totals back from the job; pure.

A shard keeps its results. What an item ends with later stands for it from then on, and what it ended with
before is superseded. How many results a shard had when it was opened is kept by the round of retries, so that
a reader who had all of them goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import TypeVar

from service_common.errors import failed_precondition

from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, changed, is_late, is_settled
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Shard, ShardPhase

_LOST = frozenset({ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED})
_OVER = (ShardPhase.FINISHED, ShardPhase.SETTLED)
_SumT = TypeVar("_SumT", ItemCounts, Usage)


def check_retryable(job: Job, now: datetime) -> None:
    """Refuse to retry items of a job that cannot run.

    Raises:
        ServiceError: FAILED_PRECONDITION if it is a draft, was cancelled, is being given up, or is late.
    """
    if job.state is JobState.CANCELLED:
        raise failed_precondition("JOB_CANCELLED", f"job {job.job_id} was cancelled")
    if job.state is JobState.DRAFT:
        raise failed_precondition("JOB_NOT_STARTED", f"job {job.job_id} was not started")
    if job.state.terminal and job.finish_time is None:
        raise failed_precondition("JOB_NOT_FINISHED", f"job {job.job_id} is being given up; ask again soon")
    if is_late(job, now):
        raise failed_precondition(
            "DEADLINE_EXCEEDED",
            f"the deadline of job {job.job_id} has passed; set a later one with UpdateJob",
        )


def lost_items(shard: Shard) -> int:
    """Return how many items of a shard ended without content."""
    return sum(state in _LOST for state in shard.states)


def reopened(shard: Shard, job: Job, now: datetime, *, round_: int) -> Shard:
    """Return a shard that is over with its lost items to be worked on again.

    Its epoch rises, so that a commit of before whose answer was lost is not taken for one of now.
    """
    results = shard.counts.finished + shard.superseded
    lost = [index for index, state in enumerate(shard.states) if state in _LOST]
    states = bytearray(shard.states)
    for index in lost:
        states[index] = ItemState.PENDING
    return replace(
        shard,
        states=bytes(states),
        superseded=shard.superseded + len(lost),
        reopened={**shard.reopened, round_: results},
        phase=ShardPhase.BEGUN,
        priority=job.priority,
        claimable_at=now,
        parked=job.state is JobState.PAUSED,
        owner="",
        epoch=shard.epoch + 1,
        commits=shard.commits + 1,
        unreported=True,
        retry=False,
        late=False,
        granted=_granted_again(shard, job),
        tenant_base=_tenant_base_again(shard, job),
        crashes={index: times for index, times in shard.crashes.items() if index not in lost},
    )


def retried(job: Job, shards: Sequence[Shard], now: datetime, *, round_: int) -> tuple[Job, list[Shard]]:
    """Return a job with the lost items of some of its shards to be worked on again, and these shards.

    Of a shard that is being worked on they are as soon as it is over.
    """
    after: list[Shard] = []
    for shard in shards:
        if not lost_items(shard):
            after.append(shard)
        elif shard.phase in _OVER:
            after.append(reopened(shard, job, now, round_=round_))
        else:
            after.append(replace(shard, retry=True))
    opened = [old for old, new in zip(shards, after, strict=True) if new.epoch != old.epoch]
    return (_taken_back(job, opened, now, round_=round_) if opened else job), after


def _taken_back(job: Job, opened: Iterable[Shard], now: datetime, *, round_: int) -> Job:
    """Return the job without what these shards had added to it, under way again."""
    settled = bytearray(job.settled)
    counts, usage, granted = job.counts, job.usage, job.granted
    for shard in opened:
        if is_settled(job, shard.number):
            byte, bit = divmod(shard.number, 8)
            settled[byte] &= ~(1 << bit)
            counts, usage = _less(counts, shard.counts), _less(usage, shard.usage)
            granted += _granted_again(shard, job) or 0
    job = replace(
        job,
        settled=bytes(settled),
        counts=counts,
        usage=usage,
        granted=granted,
        retries=max(job.retries, round_),
        stir_time=now,
    )
    if job.state.terminal:
        return changed(job, state=JobState.RUNNING, begun=True, state_reason=None, finish_time=None)
    return changed(job)


def _granted_again(shard: Shard, job: Job) -> int | None:
    """Return what a shard has been given once it is opened: what it has spent, if its slice was closed."""
    return shard.spent if shard.granted is not None and is_settled(job, shard.number) else shard.granted


def _tenant_base_again(shard: Shard, job: Job) -> int | None:
    """Return from which spending on its tenant's budget bears it: what that has booked stays booked."""
    return (
        shard.spent if shard.tenant_base is not None and is_settled(job, shard.number) else shard.tenant_base
    )


def _less(total: _SumT, part: _SumT) -> _SumT:
    return type(total)(*(getattr(total, each.name) - getattr(part, each.name) for each in fields(total)))


def standing(shard: Shard, results: Iterable[tuple[int, Outcome]]) -> list[tuple[int, Outcome]]:
    """Return the results that stand for their items: the last of each item that is over."""
    latest = dict(results)
    return [(index, each) for index, each in latest.items() if shard.states[index] >= ItemState.SUCCEEDED]
