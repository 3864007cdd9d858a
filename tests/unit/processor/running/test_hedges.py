"""Second calls: only for the slowest, never more than their share, and they shorten the tail."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.running.hedges import Hedges

RATIO = 0.02


def quantile(values: list[float], share: float) -> float:
    """Return an order statistic."""
    return sorted(values)[int(share * len(values))]


@given(
    ratio=st.floats(0.001, 0.2),
    steps=st.lists(st.one_of(st.just(None), st.floats(0, 100)), max_size=300),
)
def test_second_calls_never_exceed_their_share(ratio: float, steps: list[float | None]) -> None:
    """However calls and times come, at every moment second calls are at most that share of first ones."""
    hedges, calls, second = Hedges(ratio), 0, 0
    for step in steps:
        if step is None:
            hedges.called()
            calls += 1
        else:
            hedges.began("m", step)
        second += hedges.take()
        assert second <= ratio * calls + 1e-6


def test_nothing_is_slow_before_enough_is_known() -> None:
    """Twenty times are the least; the slow ones are those of the one model."""
    hedges = Hedges(RATIO)
    for number in range(19):
        hedges.began("m", float(number))
        assert hedges.wait_s("m") is None
    hedges.began("m", 19.0)
    assert hedges.wait_s("m") == 19.0
    assert hedges.wait_s("other") is None


@given(times=st.lists(st.floats(0, 10), min_size=20, max_size=500))
def test_the_wait_is_the_95th_percentile_of_the_latest(times: list[float]) -> None:
    """Of the latest two hundred, at most one in twenty took longer than the wait."""
    hedges = Hedges(RATIO)
    for each in times:
        hedges.began("m", each)
    latest = times[-200:]
    wait_s = hedges.wait_s("m")
    assert wait_s in latest
    assert sum(each > wait_s for each in latest) <= 0.05 * len(latest)
    assert sum(each >= wait_s for each in latest) >= 0.05 * len(latest)


def test_credit_of_a_quiet_time_is_bounded() -> None:
    """After a million quick calls, a bad minute gets ten second calls at once, not twenty thousand."""
    hedges = Hedges(RATIO)
    for _ in range(1_000_000):
        hedges.called()
    assert [hedges.take() for _ in range(12)] == [True] * 10 + [False] * 2
    hedges.give_back()
    assert hedges.take()


def test_models_are_bounded() -> None:
    """Models that callers make up are forgotten, the longest unused first."""
    hedges = Hedges(RATIO)
    for number in range(300):
        for _ in range(20):
            hedges.began(f"m{number}", 1.0)
    assert hedges.wait_s("m0") is None
    assert hedges.wait_s("m299") == 1.0


def _simulated(seed: int, calls: int, *, slow_share: float, hedges: Hedges | None) -> tuple[list[float], int]:
    """Return how long each call took to begin, and how many second ones there were."""
    dice, taken, extra = random.Random(seed), [], 0

    def begins_s() -> float:
        return dice.lognormvariate(0.0, 0.3) * (20.0 if dice.random() < slow_share else 1.0)

    for _ in range(calls):
        first, second = begins_s(), begins_s()
        if hedges is None:
            taken.append(first)
            continue
        hedges.called()
        wait_s = hedges.wait_s("m")
        if wait_s is None or first <= wait_s or not hedges.take():
            hedges.began("m", first)
            taken.append(first)
            continue
        extra += 1
        took = min(first, wait_s + second)
        taken.append(took)
        hedges.began("m", second if took < first else first)
        if took < first:
            hedges.began("m", took)
    return taken, extra


@pytest.mark.parametrize("seed", range(5))
def test_the_tail_gets_shorter_for_two_percent_more_calls(seed: int) -> None:
    """Where one call in a hundred is twenty times slower, the 99th percentile falls to less than half."""
    plain, _ = _simulated(seed, 20_000, slow_share=0.012, hedges=None)
    hedged, extra = _simulated(seed, 20_000, slow_share=0.012, hedges=Hedges(RATIO))

    assert extra <= RATIO * 20_000
    assert quantile(hedged, 0.99) < 0.5 * quantile(plain, 0.99)
    assert quantile(hedged, 0.5) == pytest.approx(quantile(plain, 0.5), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_an_endpoint_that_is_slow_altogether_is_not_asked_twice(seed: int) -> None:
    """When all calls become slow the budget holds, and then the new times are the usual ones."""
    hedges = Hedges(RATIO)
    _simulated(seed, 2_000, slow_share=0.0, hedges=hedges)
    _, extra = _simulated(seed + 100, 2_000, slow_share=1.0, hedges=hedges)
    assert extra <= RATIO * 2_000 + 10
