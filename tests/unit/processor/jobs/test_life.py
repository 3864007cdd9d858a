"""A job's life under random histories: no owner and no clock leads it where it may not go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from parallel_processor.jobs.item import ItemCounts, ItemState
from parallel_processor.jobs.job import (
    DEADLINE_EXCEEDED,
    Job,
    JobState,
    Priority,
    ShardTotals,
    StateReason,
    running,
    settle,
    started,
)
from parallel_processor.jobs.life import (
    PAUSED_BY_REQUEST,
    arranged,
    attention_at,
    cancelled,
    ending_of,
    expired,
    paused,
    resumed,
    resumed_for_tenant,
    updated,
)
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.records import job_from_fields, job_to_fields
from parallel_processor.jobs.shard import arranged as arranged_shard
from parallel_processor.jobs.shard import claimed, handed_back
from parallel_processor.jobs.terms import Terms
from service_common.errors import ServiceError

from tests.unit.processor.samples import LEASE, NOW, job, shard

QUOTA = StateReason("MODEL_QUOTA_EXHAUSTED", "no money")
USED_UP = StateReason("BUDGET_EXHAUSTED", "raise it")
LATER = NOW + timedelta(minutes=10)
REFUSALS = {"DEADLINE_EXCEEDED", "JOB_NOT_STARTED", "JOB_FINISHED", "JOB_CANCELLED", "JOB_EMPTY"}


def begun(**changes: object) -> Job:
    """Return a job whose first item was begun."""
    return replace(running(started(job(), shard_count=3, now=NOW, traceparent=None)), **changes)  # type: ignore[arg-type]  # a job's fields, by name


class JobMachine(RuleBasedStateMachine):
    """Owners, workers and the clock change one job of three shards, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.job = job(3)
        self.now = NOW
        self.settled: set[int] = set()

    def apply(self, change: Callable[[Job], Job]) -> None:
        """Apply a transition as the repository does; a refusal changes nothing."""
        before = self.job
        try:
            after = change(before)
        except ServiceError as error:
            if error.reason not in REFUSALS:
                raise
            return
        said = (after.state, after.state_reason) != (before.state, before.state_reason)
        assert after.revision == before.revision + 1 or not said
        if before.finish_time is not None:
            assert after.state is before.state
        if before.state is JobState.CANCELLED:
            assert after.state is JobState.CANCELLED
        self.job = after

    @rule()
    def start(self) -> None:
        """Start it."""
        self.apply(lambda each: started(each, shard_count=3, now=self.now, traceparent=None))

    @precondition(lambda self: self.job.state is not JobState.PAUSED)
    @rule()
    def claim(self) -> None:
        """Begin its first item."""
        self.apply(running)

    @rule(reason=st.sampled_from([PAUSED_BY_REQUEST, QUOTA, USED_UP]))
    def pause(self, reason: StateReason) -> None:
        """Pause it, from outside or from within."""
        self.apply(lambda each: paused(each, reason, self.now))

    @rule()
    def resume(self) -> None:
        """Let it go on."""
        self.apply(lambda each: resumed(each, self.now))

    @rule()
    def cancel(self) -> None:
        """Stop it."""
        self.apply(lambda each: cancelled(each, self.now))

    @rule(cap=st.none() | st.integers(0, 9))
    def set_cap(self, cap: int | None) -> None:
        """Set another cap: it never makes a job rest, nor lets one go on that rests for something else."""
        before = self.job
        self.apply(lambda each: updated(each, {}, {"max_cost_micros": cap}, self.now))
        if before.state is JobState.PAUSED and before.state_reason != USED_UP:
            assert self.job.state is JobState.PAUSED
        assert self.job.state is before.state or before.state is JobState.PAUSED

    @rule()
    def tenant_raised(self) -> None:
        """Its tenant may spend more."""
        self.apply(lambda each: resumed_for_tenant(each, self.now))

    @rule(minutes=st.integers(-5, 30))
    def set_deadline(self, minutes: int) -> None:
        """Set another deadline, perhaps one that has passed."""
        deadline = self.now + timedelta(minutes=minutes)
        self.apply(lambda each: updated(each, {}, {"deadline": deadline}, self.now))

    @rule(minutes=st.integers(0, 20))
    def wait(self, minutes: int) -> None:
        """Let time pass, and somebody look whether it is late."""
        self.now += timedelta(minutes=minutes)
        self.apply(lambda each: expired(each, self.now))

    @precondition(lambda self: self.job.shard_count)
    @rule(number=st.integers(0, 2), good=st.booleans())
    def settle(self, number: int, good: bool) -> None:  # noqa: FBT001 - drawn by name
        """Settle one of its shards."""
        ended = ItemCounts(succeeded=int(good), failed=int(not good))
        self.settled.add(number)
        self.apply(lambda each: settle(each, [ShardTotals(number, ended, Usage())], self.now))

    @invariant()
    def only_what_is_over_has_an_end(self) -> None:
        """It is finished exactly when all shards have settled, or when it was cancelled as a draft."""
        never_began = self.job.state is JobState.CANCELLED and not self.job.shard_count
        assert (self.job.finish_time is not None) == (len(self.settled) == 3 or never_began)
        assert self.job.finish_time is None or self.job.state.terminal

    @invariant()
    def a_pause_says_why(self) -> None:
        """A paused job has a reason; one that is under way has one only past its deadline."""
        if self.job.state is JobState.PAUSED:
            assert self.job.state_reason in (PAUSED_BY_REQUEST, QUOTA, USED_UP)
        elif self.job.state.started:
            assert self.job.state_reason in (None, DEADLINE_EXCEEDED)

    @invariant()
    def what_is_given_up_is_looked_after(self) -> None:
        """As long as its items must end though nobody works on them, a processor has to look, at once."""
        if self.job.finish_time is None and ending_of(self.job, self.now) is not None:
            due = attention_at(self.job)
            assert (due is not None and due <= self.now) or self.job.state is JobState.DRAFT

    @invariant()
    def it_is_stored_whole(self) -> None:
        """What is read is what was written."""
        assert job_from_fields(self.job.tenant, job_to_fields(self.job)) == self.job


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (job(), "JOB_NOT_STARTED"),
        (cancelled(job(), NOW), "JOB_CANCELLED"),
        (replace(begun(), state=JobState.SUCCEEDED, finish_time=NOW), "JOB_FINISHED"),
    ],
)
def test_only_what_is_under_way_is_paused_or_resumed(before: Job, reason: str) -> None:
    """Drafts and jobs that are over are refused, each with its reason."""
    with pytest.raises(ServiceError) as caught:
        paused(before, PAUSED_BY_REQUEST, NOW)
    assert caught.value.reason == reason
    with pytest.raises(ServiceError) as caught:
        resumed(before, NOW)
    assert caught.value.reason == reason


def test_a_pause_from_within_never_hides_the_owners() -> None:
    """The owner's pause replaces one for want of quota, with its probe; it is never replaced."""
    resting = paused(begun(), QUOTA, NOW, probe_after=timedelta(minutes=5))
    assert attention_at(replace(resting, unarranged_since=None)) == NOW + timedelta(minutes=5)
    mine = paused(resting, PAUSED_BY_REQUEST, NOW)
    assert (mine.state_reason, mine.probe_at) == (PAUSED_BY_REQUEST, None)
    assert paused(mine, QUOTA, NOW) is mine
    assert paused(mine, PAUSED_BY_REQUEST, NOW) is mine


def test_a_resumed_job_is_where_it_was() -> None:
    """A job none of whose items was begun is queued again, another runs."""
    fresh = started(job(), shard_count=3, now=NOW, traceparent=None)
    for before in (fresh, begun()):
        after = resumed(paused(before, PAUSED_BY_REQUEST, NOW), NOW)
        assert (after.state, after.state_reason) == (before.state, None)


@pytest.mark.parametrize(
    ("was", "becomes", "goes_on"),
    [(5, 6, True), (5, None, True), (5, 5, False), (5, 4, False), (0, 1, True)],
)
def test_a_higher_cap_lets_a_job_go_on_that_rests_for_it(
    was: int, becomes: int | None, *, goes_on: bool
) -> None:
    """In the write that raises it, with its shards to be freed; under one no higher it rests on."""
    resting = paused(begun(terms=Terms(max_cost_micros=was)), USED_UP, NOW)
    after = updated(replace(resting, unarranged_since=None), {}, {"max_cost_micros": becomes}, LATER)
    assert after.terms.max_cost_micros == becomes
    if goes_on:
        assert (after.state, after.state_reason, after.unarranged_since) == (JobState.RUNNING, None, LATER)
    else:
        assert (after.state, after.state_reason, after.unarranged_since) == (JobState.PAUSED, USED_UP, None)


def test_only_what_its_tenant_cannot_pay_goes_on_when_that_may_spend_more() -> None:
    """A probe tells a job that rests for its tenant from one that rests for its own cap."""
    own = paused(begun(terms=Terms(max_cost_micros=5)), USED_UP, NOW)
    tenants = paused(begun(terms=Terms(max_cost_micros=5)), USED_UP, NOW, probe_after=timedelta(hours=1))
    mine = paused(tenants, PAUSED_BY_REQUEST, NOW)
    starved = paused(begun(), QUOTA, NOW, probe_after=timedelta(hours=1))
    for each in (own, mine, starved, begun()):
        assert resumed_for_tenant(each, LATER) is each
    assert resumed_for_tenant(tenants, LATER).state is JobState.RUNNING
    assert updated(tenants, {}, {"max_cost_micros": 6}, LATER).state is JobState.PAUSED


def test_a_later_deadline_takes_back_what_was_not_given_up_yet() -> None:
    """A job past its deadline goes on when it gets more time, as far as its items have not ended."""
    late = expired(begun(terms=Terms(deadline=NOW)), NOW)
    assert ending_of(late, NOW) is not None
    after = updated(late, {}, {"deadline": LATER}, NOW)
    assert (after.state, after.state_reason, ending_of(after, NOW)) == (JobState.RUNNING, None, None)


def test_a_paused_job_that_is_late_is_given_up() -> None:
    """A deadline holds whether or not a job is paused: its items fail, and it is not paused any more."""
    late = expired(paused(begun(terms=Terms(deadline=NOW)), PAUSED_BY_REQUEST, NOW), NOW)
    assert (late.state, late.state_reason) == (JobState.RUNNING, DEADLINE_EXCEEDED)
    ending = ending_of(late, NOW)
    assert ending is not None
    assert (ending.state, ending.error.reason) == (ItemState.FAILED, "DEADLINE_EXCEEDED")


def test_terms_of_a_cancelled_job_do_not_change() -> None:
    """They matter no more; its title may change."""
    over = cancelled(begun(), NOW)
    with pytest.raises(ServiceError) as caught:
        updated(over, {}, {"weight": 7}, NOW)
    assert caught.value.reason == "JOB_CANCELLED"
    assert updated(over, {"display_name": "x"}, {}, NOW).display_name == "x"


def test_an_arrangement_of_an_earlier_state_does_not_count() -> None:
    """Who arranged the shards for a pause does not say that they are arranged for the resumption."""
    first = paused(begun(), PAUSED_BY_REQUEST, NOW)
    second = resumed(first, NOW)
    assert arranged(second, first.revision) is second
    assert attention_at(arranged(second, second.revision)) is None


def test_free_shards_of_a_paused_job_are_parked_and_come_back() -> None:
    """Parked they cannot be claimed however long one waits; resumed they can be at once."""
    pausing = paused(begun(), PAUSED_BY_REQUEST, NOW)
    parked = arranged_shard(shard(), pausing, NOW)
    assert not parked.is_claimable(NOW + timedelta(days=9))
    assert arranged_shard(parked, pausing, LATER) == parked
    free = arranged_shard(parked, resumed(pausing, LATER), LATER)
    assert free.is_claimable(LATER)


def test_a_shard_that_is_held_is_parked_when_it_comes_back() -> None:
    """Its worker finishes its calls first, under a lease that nobody touches."""
    pausing = paused(begun(), PAUSED_BY_REQUEST, NOW)
    held = claimed(shard(), owner="w", now=NOW, lease=LEASE)
    assert arranged_shard(held, pausing, NOW) == held
    back = handed_back(held, epoch=held.epoch, now=NOW)
    assert arranged_shard(back, pausing, NOW).parked


def test_shards_are_as_urgent_as_their_job() -> None:
    """Another priority reaches shards that are held as well."""
    urgent = updated(begun(), {"priority": Priority.URGENT}, {}, NOW)
    assert attention_at(urgent) == NOW
    for each in (shard(), claimed(shard(), owner="w", now=NOW, lease=LEASE)):
        assert arranged_shard(each, urgent, NOW) == replace(each, priority=Priority.URGENT)
