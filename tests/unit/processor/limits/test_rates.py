"""The token buckets: what headers say holds, and what they cannot know is subtracted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.limits.rates import Bucket, Rates
from parallel_processor.model.rate_headers import Allowance, RateHints


def _rates(requests: Allowance | None = None, tokens: Allowance | None = None) -> Rates:
    rates = Rates()
    rates.answered(100)
    rates.observe(RateHints(requests, tokens), 0.0, under_way=0)
    return rates


def test_without_headers_nothing_is_bound() -> None:
    """An endpoint that says nothing of rates is bound by none."""
    rates = Rates()
    rates.begin(0.0)
    assert (rates.known, rates.bears(0.0)) == (False, None)


def test_requests_and_tokens_bind_each_by_itself() -> None:
    """The smaller of the two decides how many more calls may begin."""
    plenty = Allowance(6000, 6000, 0.0)
    assert _rates(Allowance(600, 7, 59.3), plenty).bears(0.0) == 7
    assert _rates(plenty, Allowance(6000, 350, 56.5)).bears(0.0) == 3


def test_a_bucket_fills_at_its_rate() -> None:
    """600 a minute are ten a second, and what is missing takes its time."""
    rates = _rates(Allowance(600, 0, 60.0))
    assert rates.bears(0.0) == 0
    assert rates.bears_one_in_s(0.0) == pytest.approx(0.1)
    assert rates.bears(0.5) == 5


def test_a_limit_per_day_is_recognised() -> None:
    """Limits per day are told in the same words; the time until they are full tells them apart."""
    rates = _rates(Allowance(200, 0, 86_400.0))
    assert rates.bears_one_in_s(0.0) == pytest.approx(432.0)


def test_calls_under_way_are_subtracted() -> None:
    """Headers do not know of calls that began after the answer was made."""
    rates = _rates(Allowance(600, 10, 59.0))
    for _ in range(6):
        rates.begin(0.0)
    assert rates.bears(0.0) == 4
    rates.observe(RateHints(Allowance(600, 9, 59.1), None), 0.0, under_way=5)
    assert rates.bears(0.0) == 4
    rates.observe(RateHints(Allowance(600, 2, 59.8), None), 0.0, under_way=0)
    assert rates.bears(0.0) == 2


def test_a_call_larger_than_the_limit_waits_for_all_of_it() -> None:
    """It would wait for ever otherwise."""
    bucket = Bucket(Allowance(100, 100, 0.0), 0.0)
    assert bucket.bears(1000.0, 0.0) == 1


@given(
    limit=st.integers(1, 10**7),
    left=st.floats(0, 1),
    full_in_s=st.none() | st.floats(0.0, 1e5),
    amount=st.floats(1, 1e5),
    takes=st.integers(0, 30),
)
def test_what_it_promises_comes_true(
    limit: int, left: float, full_in_s: float | None, amount: float, takes: int
) -> None:
    """After the time it names, one call is borne; and never more than the limit holds."""
    bucket = Bucket(Allowance(limit, int(limit * left), full_in_s), 0.0)
    for _ in range(takes):
        if bucket.bears(amount, 0.0):
            bucket.take(amount, 0.0)
    wait_s = bucket.bears_one_in_s(amount, 0.0)
    assert bucket.bears(amount, wait_s * (1 + 1e-9) + 1e-6) >= 1
    assert bucket.level(1e9) <= limit
