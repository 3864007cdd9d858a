"""Beliefs and intervals: few observations bend them, many replace them, and nine in ten sums lie within."""

from __future__ import annotations

import math
import random
from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.estimating.moments import FADES_AT, Moments, of_sums
from parallel_processor.estimating.posterior import assumed, interval, learned, limited

values = st.lists(st.floats(0.0, 1e6), min_size=0, max_size=30)


def moments(of: list[float]) -> Moments:
    """Return the moments of values."""
    return of_sums(len(of), sum(of), sum(each * each for each in of))


@given(values, values)
def test_moments_put_together_are_those_of_everything(first: list[float], second: list[float]) -> None:
    """However observations are divided, count, mean and variance are those of all of them."""
    together = moments(first) + moments(second)
    everything = [*first, *second]
    assert together.count == len(everything)
    if everything:
        assert together.mean == pytest.approx(fmean(everything), rel=1e-9, abs=1e-6)
    if len(everything) > 1:
        assert together.variance == pytest.approx(variance(everything), rel=1e-6, abs=1.0)


def test_what_is_old_fades() -> None:
    """After many observations new ones soon decide, and the spread stays what it was."""
    old = moments([100.0, 200.0] * 5_000).faded()
    assert old.count == FADES_AT
    assert old.variance == pytest.approx(2_500, rel=0.01)
    now = old
    for _ in range(20):
        now = (now + moments([500.0] * 500)).faded()
    assert now.mean > 480


def test_observations_replace_what_was_assumed() -> None:
    """A wrong assumption is bent by one observation and gone after a hundred."""
    start = assumed(500, spread=0.6)
    one = learned(start, moments([100.0]))
    assert 100 < one.mean < 500
    many = learned(start, moments([90.0, 110.0] * 100))
    assert many.mean == pytest.approx(100, abs=3)
    assert many.doubt < one.doubt


def test_experience_of_relatives_weighs_no_more_than_it_is_allowed() -> None:
    """A thousand calls of another model give way to a few of the own."""
    relatives = learned(assumed(500, spread=0.6), moments([400.0, 420.0] * 500))
    own = learned(relatives, moments([100.0, 110.0, 90.0] * 3), most=3.0)
    assert own.mean < 200


def test_a_limit_cuts_expectation_and_spread() -> None:
    """What is cut off is expected as simulation says, and never beyond the limit."""
    rng = random.Random(3)
    mu, sigma = math.log(200), 0.6
    draws = [rng.lognormvariate(mu, sigma) for _ in range(100_000)]
    whole = learned(assumed(200, spread=0.1), moments(draws))
    cut = limited(whole, 256.0)
    simulated = [min(each, 256.0) for each in draws]
    assert cut.mean == pytest.approx(fmean(simulated), rel=0.02)
    assert cut.variance == pytest.approx(variance(simulated), rel=0.06)
    assert limited(whole, 1e9).mean == pytest.approx(whole.mean)


@given(st.floats(0.01, 1e9), st.floats(0.0, 4.0))
def test_an_interval_is_round_its_expectation_and_never_negative(mean: float, spread: float) -> None:
    """Its ends are above zero and in order; without spread it is a point."""
    found = interval(mean, (spread * mean) ** 2)
    assert 0.0 < found.low <= found.high
    if spread <= 1.0:
        assert found.low <= mean * 1.0001
        assert mean <= found.high * 1.0001


def test_nine_in_ten_totals_lie_within() -> None:
    """Learned from a few dozen calls, intervals hold totals of fresh ones about as often as they say."""
    rng = random.Random(5)
    inside = 0
    for _ in range(400):
        mu, sigma = rng.uniform(4, 6), rng.uniform(0.2, 0.7)
        seen = moments([rng.lognormvariate(mu, sigma) for _ in range(rng.randint(5, 60))])
        belief = learned(assumed(500, spread=0.6), seen)
        calls = rng.randint(3, 80)
        total = sum(rng.lognormvariate(mu, sigma) for _ in range(calls))
        found = interval(calls * belief.mean, calls * belief.variance + calls**2 * belief.doubt)
        inside += found.low <= total <= found.high
    assert 0.86 <= inside / 400 <= 0.98
