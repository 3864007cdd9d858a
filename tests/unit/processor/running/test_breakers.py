"""A breaker for each model: separate, bounded in number, and asked without being used."""

from __future__ import annotations

import random

from parallel_processor.running.breakers import Breakers
from service_common.clock import ManualClock
from service_common.resilience.breaker import BreakerPolicy, BreakerState, CircuitBreaker

POLICY = BreakerPolicy(min_calls=2, open_s=1.0, jitter=0.0, half_open_calls=1)


def made(clock: ManualClock, forgotten: list[str] | None = None) -> Breakers:
    """Return breakers that open after two failures."""
    rng = random.Random(1)
    return Breakers(
        lambda model: CircuitBreaker(model, POLICY, clock=clock, rng=rng),
        forgotten=(forgotten if forgotten is not None else []).append,
    )


def fail(breakers: Breakers, model: str, times: int = 2) -> None:
    """Let calls to a model fail."""
    for _ in range(times):
        ticket = breakers.of(model).admit()
        assert ticket is not None
        breakers.of(model).failed(ticket)


def test_one_models_failures_are_its_own() -> None:
    """Only the model that failed is suspended, and only it is shown as such."""
    breakers = made(ManualClock())
    fail(breakers, "bad")
    breakers.of("good")
    assert breakers.suspended("bad")
    assert not breakers.suspended("good")
    assert not breakers.suspended("never called")
    assert breakers.readings() == [("bad", BreakerState.OPEN), ("good", BreakerState.CLOSED)]


def test_looking_takes_no_trial() -> None:
    """A half-open breaker keeps its one trial however often it is looked at; without it, it is suspended."""
    clock = ManualClock()
    breakers = made(clock)
    fail(breakers, "m")
    clock.advance(1.0)
    assert [breakers.suspended("m") for _ in range(5)] == [False] * 5
    assert breakers.of("m").admit() is not None
    assert breakers.suspended("m")


def test_their_number_is_bounded() -> None:
    """Models that clients make up are forgotten, the longest unused first; one that is in trouble is kept."""
    forgotten: list[str] = []
    breakers = made(ManualClock(), forgotten)
    fail(breakers, "bad")
    for number in range(1000):
        breakers.of(f"m{number}")
        breakers.of("used")
    assert len(breakers.readings()) == 200
    assert breakers.suspended("bad")
    assert forgotten[:2] == ["m0", "m1"]
    assert "used" not in forgotten
