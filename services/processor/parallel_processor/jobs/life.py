"""A job's life between its start and its end: paused, resumed, changed, given up; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from service_common.errors import ServiceError, failed_precondition

from parallel_processor.jobs.item import ItemCounts, ItemState
from parallel_processor.jobs.job import (
    DEADLINE_EXCEEDED,
    Job,
    JobState,
    StateReason,
    changed,
    given_up_late,
    is_late,
)
from parallel_processor.jobs.piece import PieceError

PAUSED_BY_REQUEST = StateReason("PAUSED_BY_REQUEST", "it was paused on request; ResumeJob lets it go on")
CANCELLED_BY_REQUEST = StateReason("JOB_CANCELLED", "the job was cancelled")
OUT_OF_BUDGET = "BUDGET_EXHAUSTED"
PROBE_AFTER = timedelta(minutes=5)
"""How long a job rests whose model account is in trouble, before it tries again by itself."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the unfinished items of a job end that is given up."""

    state: ItemState
    error: PieceError


def ending_of(job: Job, now: datetime) -> Ending | None:
    """Return how a job's unfinished items end; None while they are to be worked on."""
    if job.state.terminal and job.state_reason is not None:
        return Ending(ItemState.CANCELLED, PieceError(job.state_reason.reason, job.state_reason.message))
    if job.state is JobState.CANCELLED:
        return Ending(
            ItemState.CANCELLED, PieceError(CANCELLED_BY_REQUEST.reason, CANCELLED_BY_REQUEST.message)
        )
    if job.state_reason == DEADLINE_EXCEEDED or is_late(job, now):
        return Ending(ItemState.FAILED, PieceError(DEADLINE_EXCEEDED.reason, DEADLINE_EXCEEDED.message))
    return None


def attention_at(job: Job) -> datetime | None:
    """Return when a processor must look after a job though none of its items ends; None for never."""
    if job.deleted:
        return job.create_time
    if job.finish_time is not None or not (job.state.started or job.state.terminal):
        return None
    dues = (
        job.unarranged_since,
        job.probe_at if job.state is JobState.PAUSED else None,
        job.terms.deadline if job.state.started and job.state_reason != DEADLINE_EXCEEDED else None,
    )
    return min((each for each in dues if each is not None), default=None)


def paused(job: Job, reason: StateReason, now: datetime, *, probe_after: timedelta | None = None) -> Job:
    """Return the job with nothing new begun until it is resumed.

    A job that is paused already keeps its reason, unless its owner pauses it.

    Args:
        job: The job.
        reason: Why.
        now: The time.
        probe_after: After how long it goes on by itself; None for never.

    Raises:
        ServiceError: FAILED_PRECONDITION if it is a draft or over.
    """
    _check_under_way(job)
    if job.state is JobState.PAUSED and (reason != PAUSED_BY_REQUEST or job.state_reason == reason):
        return job
    if job.state_reason == DEADLINE_EXCEEDED:
        return job
    return changed(
        job,
        state=JobState.PAUSED,
        state_reason=reason,
        probe_at=None if probe_after is None else now + probe_after,
        unarranged_since=now,
        stir_time=now,
    )


def resumed(job: Job, now: datetime) -> Job:
    """Return a paused job going on; another that is under way as it is.

    Raises:
        ServiceError: FAILED_PRECONDITION if it is a draft or over.
    """
    _check_under_way(job)
    if job.state is not JobState.PAUSED:
        return job
    return changed(
        job, state=_awake(job), state_reason=None, probe_at=None, unarranged_since=now, stir_time=now
    )


def resumed_for_tenant(job: Job, now: datetime) -> Job:
    """Return a job going on that rests because its tenant's budget was used up; another as it is."""
    return resumed(job, now) if _rests(job) and job.probe_at is not None else job


def _rests(job: Job) -> bool:
    """Whether a job is paused for want of budget: with a probe, its tenant's; without, its own."""
    reason = job.state_reason
    return job.state is JobState.PAUSED and reason is not None and reason.reason == OUT_OF_BUDGET


def _bears_more(after: Job, before: Job) -> bool:
    """Whether a job that rests because its own cap is used up has been given another to go on with."""
    if not _rests(before) or before.probe_at is not None:
        return False
    cap, was = after.terms.max_cost_micros, before.terms.max_cost_micros
    return cap is None or (was is not None and cap > was)


def updated(job: Job, fields: Mapping[str, Any], terms: Mapping[str, Any], now: datetime) -> Job:
    """Return the job with some fields, and some of its terms, changed by its owner.

    A title and labels may change at any time; urgency and terms as long as they may matter: not once the job
    was cancelled. A job that rests because its cap is used up goes on under a higher one.

    Raises:
        ServiceError: FAILED_PRECONDITION, reason JOB_CANCELLED.
    """
    if job.state is JobState.CANCELLED and (terms or "priority" in fields):
        raise _cancelled(job)
    after = replace(job, **fields, terms=replace(job.terms, **terms))
    if after == job:
        return job
    if after.priority is not job.priority and job.state.started:
        after = replace(after, unarranged_since=now)
    if job.state_reason == DEADLINE_EXCEEDED and job.finish_time is None and not is_late(after, now):
        after = replace(after, state_reason=None, unarranged_since=None)
    return resumed(after, now) if _bears_more(after, job) else changed(after, stir_time=now)


def expired(job: Job, now: datetime) -> Job:
    """Return a job whose deadline has passed with the rest of its items given up; another as it is."""
    return given_up_late(job, now) if is_late(job, now) else job


def cancelled(job: Job, now: datetime) -> Job:
    """Return the job stopped; a finished job as it is."""
    if job.state.terminal:
        return job
    if job.state is JobState.DRAFT:
        counts = ItemCounts(cancelled=job.item_count)
        return changed(
            job, state=JobState.CANCELLED, state_reason=CANCELLED_BY_REQUEST, finish_time=now, counts=counts
        )
    return changed(
        job,
        state=JobState.CANCELLED,
        state_reason=CANCELLED_BY_REQUEST,
        probe_at=None,
        unarranged_since=now,
        stir_time=now,
    )


def deleted(job: Job) -> Job:
    """Return a draft or a finished job gone for everybody.

    Raises:
        ServiceError: FAILED_PRECONDITION, reason JOB_NOT_FINISHED.
    """
    if job.state is not JobState.DRAFT and job.finish_time is None:
        raise failed_precondition(
            "JOB_NOT_FINISHED", f"job {job.job_id} is not finished; cancel it, and wait for its end"
        )
    return replace(job, deleted=True)


def arranged(job: Job, revision: int) -> Job:
    """Return the job with its shards as they should be, unless it has changed since they were arranged."""
    if job.revision != revision or job.unarranged_since is None:
        return job
    return replace(job, unarranged_since=None)


def _awake(job: Job) -> JobState:
    return JobState.RUNNING if job.begun or job.state is JobState.RUNNING else JobState.QUEUED


def _check_under_way(job: Job) -> None:
    if job.state is JobState.CANCELLED:
        raise _cancelled(job)
    if job.state is JobState.DRAFT:
        raise failed_precondition("JOB_NOT_STARTED", f"job {job.job_id} was not started")
    if job.state.terminal:
        raise failed_precondition("JOB_FINISHED", f"job {job.job_id} is finished")


def _cancelled(job: Job) -> ServiceError:
    return failed_precondition("JOB_CANCELLED", f"job {job.job_id} was cancelled")
