"""The breaker against a model of itself, and the promises a random walk would rarely meet."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from service_common.clock import ManualClock
from service_common.resilience.breaker import BreakerPolicy, BreakerState, CircuitBreaker, StateChanged

POLICY = BreakerPolicy(window_s=10, min_calls=4, open_s=2, open_cap_s=8, half_open_calls=2)


class Harness:
    """A breaker with its clock and the events it told."""

    def __init__(self, policy: BreakerPolicy = POLICY) -> None:
        self.clock = ManualClock()
        self.events: list[StateChanged] = []
        self.breaker = CircuitBreaker(
            "n", policy, clock=self.clock, rng=random.Random(1), hooks=(self.events.append,)
        )

    def state(self) -> BreakerState:
        """Return the state; a call, so that the type checker does not think it constant."""
        return self.breaker.state

    def fail(self, times: int) -> None:
        """Make calls that fail."""
        for _ in range(times):
            ticket = self.breaker.admit()
            assert ticket is not None
            self.breaker.failed(ticket)

    def succeed(self, times: int) -> None:
        """Make calls that succeed."""
        for _ in range(times):
            ticket = self.breaker.admit()
            assert ticket is not None
            self.breaker.succeeded(ticket)


class Walk(RuleBasedStateMachine):
    """Any interleaving of calls, outcomes and time keeps the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness()
        self.breaker = self.harness.breaker
        self.tickets: list[int] = []
        self.trials_out = 0

    @rule()
    def admit(self) -> None:
        """Refuse exactly when open, or half-open with all trials given out."""
        state = self.breaker.state
        ticket = self.breaker.admit()
        if state is BreakerState.CLOSED:
            assert ticket is not None
        if state is BreakerState.OPEN:
            assert ticket is None
        if ticket is not None:
            self.tickets.append(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def settle(self, data: st.DataObject, outcome: str) -> None:
        """An outcome from before the last change of state changes nothing."""
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        stale = ticket != self.breaker._generation
        before = (self.breaker.state, len(self.harness.events))
        stale = stale or ticket != self.breaker._generation
        getattr(self.breaker, outcome)(ticket)
        if stale:
            assert before == (self.breaker.state, len(self.harness.events))

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.harness.clock.advance(seconds)

    @invariant()
    def trials_are_few(self) -> None:
        """Half-open never has more calls out than its policy allows."""
        if self.breaker.state is BreakerState.HALF_OPEN:
            out = sum(ticket == self.breaker._generation for ticket in self.tickets)
            assert out + self.breaker._trials_left + self.breaker._trial_successes == POLICY.half_open_calls

    @invariant()
    def openings_are_bounded(self) -> None:
        """No opening is longer than the cap or shorter than the jitter allows."""
        for event in self.harness.events:
            if event.after is BreakerState.OPEN:
                assert POLICY.open_s * (1 - POLICY.jitter) <= event.open_for_s <= POLICY.open_cap_s

    @invariant()
    def events_form_a_path(self) -> None:
        """Each event begins where the one before ended, and only by an allowed step."""
        state = BreakerState.CLOSED
        steps = {
            (BreakerState.CLOSED, BreakerState.OPEN),
            (BreakerState.OPEN, BreakerState.HALF_OPEN),
            (BreakerState.HALF_OPEN, BreakerState.OPEN),
            (BreakerState.HALF_OPEN, BreakerState.CLOSED),
        }
        for event in self.harness.events:
            assert event.before is state
            assert (event.before, event.after) in steps
            state = event.after


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_opens_at_half_failures_of_enough_calls() -> None:
    """Three failures are too few to judge; the fourth call decides at the threshold."""
    harness = Harness()
    harness.succeed(2)
    harness.fail(1)
    assert harness.state() is BreakerState.CLOSED
    harness.fail(1)
    assert harness.state() is BreakerState.OPEN


def test_failures_out_of_the_window_are_forgotten() -> None:
    """Failures older than the window do not count."""
    harness = Harness()
    harness.fail(3)
    harness.clock.advance(POLICY.window_s + 1)
    harness.fail(3)
    assert harness.state() is BreakerState.CLOSED


def test_recovers_after_enough_good_trials() -> None:
    """After the opening, the trials pass, the next call waits, and good trials close it."""
    harness = Harness()
    harness.fail(4)
    assert 0 < harness.breaker.retry_in_s() <= POLICY.open_s
    harness.clock.advance(POLICY.open_s)
    tickets = [harness.breaker.admit() for _ in range(3)]
    assert tickets[2] is None
    for ticket in tickets[:2]:
        assert ticket is not None
        harness.breaker.succeeded(ticket)
    assert harness.state() is BreakerState.CLOSED


def test_openings_grow_with_failed_trials_and_start_over() -> None:
    """Each failed trial doubles the opening up to the cap; a recovery resets it."""
    harness = Harness(BreakerPolicy(min_calls=1, open_s=1, open_cap_s=4, jitter=0, half_open_calls=1))
    for expected in (1, 2, 4, 4):
        harness.fail(1)
        assert harness.events[-1].open_for_s == expected
        harness.clock.advance(expected)
    harness.succeed(1)
    harness.fail(1)
    assert harness.events[-1].open_for_s == 1


def test_an_abandoned_trial_gives_its_place_back() -> None:
    """A cancelled trial neither closes nor blocks."""
    harness = Harness(BreakerPolicy(min_calls=1, open_s=1, half_open_calls=1))
    harness.fail(1)
    harness.clock.advance(1)
    ticket = harness.breaker.admit()
    assert ticket is not None
    assert harness.breaker.admit() is None
    harness.breaker.abandoned(ticket)
    harness.succeed(1)
    assert harness.state() is BreakerState.CLOSED


def test_forced_states_hold() -> None:
    """Forced open refuses for ever, forced closed never opens, released it decides again."""
    harness = Harness()
    harness.breaker.force(BreakerState.OPEN)
    harness.clock.advance(1e6)
    assert harness.breaker.admit() is None
    harness.breaker.force(BreakerState.CLOSED)
    harness.fail(50)
    assert harness.state() is BreakerState.CLOSED
    harness.breaker.force(None)
    harness.fail(4)
    assert harness.state() is BreakerState.OPEN


@pytest.mark.parametrize("bad", [{"failure_rate": 0}, {"min_calls": 0}, {"jitter": 1}, {"open_cap_s": 0.1}])
def test_impossible_policies_are_refused(bad: dict[str, float]) -> None:
    """A policy that could never work cannot be made."""
    with pytest.raises(ValueError, match=r"positive|failure_rate"):
        BreakerPolicy(**bad)  # type: ignore[arg-type]  # the wrong values are the point
