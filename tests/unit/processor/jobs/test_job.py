"""A job's life: where it may go, and that totals count each shard once whatever is repeated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.jobs.item import ItemCounts
from parallel_processor.jobs.job import (
    Job,
    JobState,
    ShardTotals,
    is_settled,
    running,
    settle,
    started,
)
from parallel_processor.jobs.life import cancelled
from parallel_processor.jobs.piece import Usage
from service_common.errors import ServiceError

from tests.unit.processor.samples import NOW, job


def queued(shards: int = 3, items: int = 3) -> Job:
    """Return a started job."""
    return started(job(items), shard_count=shards, now=NOW, traceparent=None)


def totals(number: int, *, succeeded: int = 1, failed: int = 0) -> ShardTotals:
    """Return what a shard adds; its money tells it from others."""
    return ShardTotals(
        number, ItemCounts(succeeded=succeeded, failed=failed), Usage(cost_micros=10 ** (number % 10))
    )


def test_starting_queues_once() -> None:
    """A started job is queued with no shard settled; starting it again changes nothing."""
    once = queued()
    assert (once.state, once.start_time, once.revision) == (JobState.QUEUED, NOW, 2)
    assert started(once, shard_count=9, now=NOW + timedelta(1), traceparent="x") is once


@pytest.mark.parametrize(
    ("before", "reason"),
    [(job(0), "JOB_EMPTY"), (cancelled(job(), NOW), "JOB_CANCELLED")],
)
def test_jobs_that_cannot_start(before: Job, reason: str) -> None:
    """An empty job and a cancelled one are refused."""
    with pytest.raises(ServiceError) as caught:
        started(before, shard_count=0, now=NOW, traceparent=None)
    assert caught.value.reason == reason


def test_only_a_queued_job_begins_to_run() -> None:
    """The first claim makes a queued job run; a job beyond that stays what it is."""
    assert running(queued()).state is JobState.RUNNING
    for each in (running(queued()), cancelled(queued(), NOW)):
        assert running(each) is each


def test_cancelling_a_draft_ends_it_with_all_items_cancelled() -> None:
    """A job that never started is over at once, and its counts say so."""
    after = cancelled(job(5), NOW)
    assert (after.state, after.finish_time) == (JobState.CANCELLED, NOW)
    assert after.counts == ItemCounts(cancelled=5)


def test_cancelling_a_started_job_leaves_its_shards_to_settle() -> None:
    """The job is cancelled, but finished only when its last shard has settled; it stays cancelled."""
    stopped = cancelled(queued(1), NOW)
    assert stopped.finish_time is None
    after = settle(stopped, [totals(0, succeeded=3)], NOW)
    assert (after.state, after.finish_time) == (JobState.CANCELLED, NOW)


def test_cancelling_a_finished_job_changes_nothing() -> None:
    """What is finished stays as it is."""
    done = settle(queued(1), [totals(0, succeeded=3)], NOW)
    assert cancelled(done, NOW + timedelta(1)) is done


@pytest.mark.parametrize(
    ("succeeded", "failed", "state"),
    [
        (3, 0, JobState.SUCCEEDED),
        (1, 2, JobState.PARTIALLY_SUCCEEDED),
        (0, 3, JobState.FAILED),
    ],
)
def test_the_end_says_how_much_succeeded(succeeded: int, failed: int, state: JobState) -> None:
    """The final state follows from the counts."""
    assert settle(queued(1), [totals(0, succeeded=succeeded, failed=failed)], NOW).state is state


@given(
    shards=st.integers(1, 20),
    batches=st.lists(st.lists(st.integers(0, 19), max_size=8), max_size=12),
)
def test_settling_adds_each_shard_once_in_any_order(shards: int, batches: list[list[int]]) -> None:
    """Whatever is repeated, and in whatever order, totals are the sum over the shards settled so far."""
    now = queued(shards, items=shards)
    seen: set[int] = set()
    for batch in batches:
        numbers = [number % shards for number in batch]
        now = settle(now, [totals(number) for number in numbers], NOW)
        seen |= set(numbers)
        assert now.counts.succeeded == len(seen)
        assert now.usage.cost_micros == sum(10 ** (number % 10) for number in seen)
        assert {number for number in range(shards) if is_settled(now, number)} == seen
        assert (now.finish_time is not None) == (len(seen) == shards) == now.state.terminal


def test_a_finished_job_is_not_changed_by_late_repeats() -> None:
    """Settling again after the end leaves the finish time and the revision alone."""
    done = settle(queued(1), [totals(0, succeeded=3)], NOW)
    assert settle(done, [totals(0, succeeded=3)], NOW + timedelta(1)) == done


def test_every_change_of_state_is_a_new_revision_to_report() -> None:
    """Each transition raises the revision, which numbers the reports, and marks the job as unreported."""
    each = replace(job(), unreported=False)
    for change in (
        lambda before: started(before, shard_count=1, now=NOW, traceparent=None),
        running,
        lambda before: settle(before, [totals(0, succeeded=3)], NOW),
    ):
        after = replace(change(each), unreported=False)
        assert change(each).unreported
        assert after.revision == each.revision + 1
        each = after
