"""Items that are run again: totals, states and results, in any order of endings and retries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, StateReason, running, settle, started
from parallel_processor.jobs.life import PAUSED_BY_REQUEST, cancelled, paused
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.records import shard_from_fields, shard_to_fields
from parallel_processor.jobs.retrying import check_retryable, lost_items, retried, standing
from parallel_processor.jobs.shard import Commit, Shard, ShardPhase, claimed, committed, settled
from parallel_processor.jobs.terms import Terms
from service_common.errors import ServiceError

from tests.unit.processor.samples import LEASE, NOW, job, outcome, shard

SIZE = 4
LOST = (ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED)
ENDS = st.sampled_from([ItemState.SUCCEEDED, *LOST])


class Books:
    """A job of some shards with what an honest book-keeper would write beside it."""

    def __init__(self, shards: int) -> None:
        items = SIZE * shards
        self.job = running(started(job(items), shard_count=shards, now=NOW, traceparent=None))
        self.shards = [shard(SIZE, number=number) for number in range(shards)]
        self.results: dict[int, list[tuple[int, Outcome]]] = {number: [] for number in range(shards)}
        self.calls = 0

    def run(self, number: int, ends: list[ItemState]) -> None:
        """Let a shard's pending items end like this, and settle it."""
        held = claimed(self.shards[number], owner="w", now=NOW, lease=LEASE)
        pending = [index for index, state in enumerate(held.states) if state == ItemState.PENDING]
        outcomes = {index: outcome(str(index), ends[index]) for index in pending}
        self.calls += sum(each.usage.model_calls for each in outcomes.values())
        commit = Commit(
            epoch=held.epoch,
            number=held.commits + 1,
            lease_until=NOW + LEASE,
            outcomes=outcomes,
            result_chunks=(f"{held.epoch}",),
        )
        over = committed(held, commit)
        self.results[number] += outcomes.items()
        self.job = settle(self.job, [over.totals], NOW)
        self.shards[number] = settled(over, reported=True)

    def retry(self, numbers: list[int]) -> None:
        """Retry what some shards have lost."""
        chosen = [self.shards[number] for number in numbers]
        self.job, after = retried(self.job, chosen, NOW, round_=self.job.retries + 1)
        for each in after:
            self.shards[each.number] = each


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.lists(ENDS, min_size=SIZE, max_size=SIZE), st.booleans()),
        max_size=25,
    )
)
def test_totals_are_those_of_the_latest_ends(steps: list[tuple[int, list[ItemState], bool]]) -> None:
    """Counts are of the shards as they are, usage of all calls ever; each item has one result."""
    books = Books(3)
    for number, ends, is_retry in steps:
        if is_retry:
            books.retry([number])
        elif books.shards[number].claimable_at is not None:
            books.run(number, ends)
        over = [each for each in books.shards if each.phase is ShardPhase.SETTLED]
        assert sum((each.counts for each in over), ItemCounts()) == books.job.counts
        assert sum((each.usage for each in books.shards), Usage()).model_calls == books.calls
        assert (books.job.finish_time is not None) == (len(over) == 3)
        assert books.job.state.terminal == (books.job.finish_time is not None)
        for each in books.shards:
            results = books.results[each.number]
            stands = standing(each, results)
            assert {index: one.state for index, one in stands} == {
                index: state for index, state in enumerate(each.states) if state >= ItemState.SUCCEEDED
            }
            assert len(results) == each.counts.finished + each.superseded
            assert shard_from_fields(each.tenant, shard_to_fields(each)) == each


def over(*ends: ItemState) -> tuple[Job, Shard]:
    """Return a finished job of one shard whose items ended like this."""
    books = Books(1)
    books.run(0, [*ends])
    return books.job, books.shards[0]


MIXED = (ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SKIPPED, ItemState.SUCCEEDED)


def test_what_has_content_is_not_made_again() -> None:
    """Only the lost items are pending; the job runs, and its results of before are remembered."""
    before, part = over(*MIXED)
    after, (opened,) = retried(before, [part], NOW, round_=1)
    assert [*opened.states] == [3, 1, 1, 3]
    assert (after.state, after.finish_time, after.retries) == (JobState.RUNNING, None, 1)
    assert (opened.reopened, opened.superseded, opened.is_claimable(NOW)) == ({1: 4}, 2, True)


def test_a_job_without_losses_stays_finished() -> None:
    """There is nothing to retry."""
    before, part = over(*[ItemState.SUCCEEDED] * SIZE)
    assert retried(before, [part], NOW, round_=1) == (before, [part])
    assert lost_items(part) == 0


def test_a_commit_of_before_is_refused() -> None:
    """Its answer was lost; the shard is another by now, and would take it for one of its own."""
    before, part = over(*MIXED)
    _, (opened,) = retried(before, [part], NOW, round_=1)
    late = Commit(epoch=part.epoch, number=part.commits, lease_until=NOW + LEASE)
    with pytest.raises(ServiceError):
        committed(opened, late)


def test_a_shard_under_way_is_left_to_its_worker() -> None:
    """It is only marked, and keeps its lease and its epoch; so does its job."""
    held = claimed(shard(SIZE), owner="w", now=NOW, lease=LEASE)
    failed = committed(held, Commit(held.epoch, 1, NOW + LEASE, outcomes={0: outcome("0", ItemState.FAILED)}))
    now = running(started(job(SIZE), shard_count=1, now=NOW, traceparent=None))
    after, (marked,) = retried(now, [failed], NOW, round_=1)
    assert (after, marked) == (now, replace(failed, retry=True))


def test_shards_of_a_paused_job_wait() -> None:
    """They are opened, and parked until it is resumed; it stays paused."""
    books = Books(2)
    books.run(0, [*MIXED])
    pausing = paused(books.job, PAUSED_BY_REQUEST, NOW)
    after, (opened,) = retried(pausing, [books.shards[0]], NOW, round_=1)
    assert after.state is JobState.PAUSED
    assert not opened.is_claimable(NOW)


given_up = replace(
    running(started(job(), shard_count=1, now=NOW, traceparent=None)),
    state=JobState.FAILED,
    state_reason=StateReason("TOO_MANY_FAILURES", "too many"),
)
REFUSED = {
    "JOB_NOT_STARTED": job(),
    "JOB_CANCELLED": cancelled(job(), NOW),
    "JOB_NOT_FINISHED": given_up,
    "DEADLINE_EXCEEDED": replace(given_up, finish_time=NOW, terms=Terms(deadline=NOW)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_jobs_that_cannot_run_are_refused(reason: str) -> None:
    """Each with its reason; one that was given up and is over can be."""
    with pytest.raises(ServiceError) as caught:
        check_retryable(REFUSED[reason], NOW)
    assert caught.value.reason == reason
    check_retryable(replace(given_up, finish_time=NOW), NOW)
