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
    rates.observe(RateHints(requests, tokens), 0.0, asked_at=0.0)
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
    rates.observe(RateHints(Allowance(600, 9, 59.1), None), 0.0, asked_at=0.0)
    assert rates.bears(0.0) == 4
    rates.observe(RateHints(Allowance(600, 2, 59.8), None), 0.0, asked_at=0.0)
    assert rates.bears(0.0) == 2


def test_the_first_headers_do_not_know_of_all_calls_either() -> None:
    """Calls that began before anything was known of a rate are subtracted, too."""
    rates = Rates()
    for _ in range(5):
        rates.begin(0.0)
    rates.observe(RateHints(Allowance(600, 10, 59.0), None), 0.0, asked_at=0.0)
    assert rates.bears(0.0) == 6


def test_a_burst_smaller_than_the_limit_is_recognised() -> None:
    """However long it is idle, no more than what it has room for is there; less what may come in too late."""
    rates = _rates(Allowance(1200, 39, 0.05))
    assert rates.bears(3600.0) == 40 - 20 * 0.25


def test_headers_know_of_what_began_before() -> None:
    """What began well before the call they answer is counted; what began later, or just before, is not."""
    for began_at, left in ((0.0, 50), (0.9, 40), (1.5, 40)):
        rates = _rates(Allowance(60, 20, 40.0))
        for _ in range(10):
            rates.begin(began_at)
        rates.begin(1.0)
        rates.observe(RateHints(Allowance(60, 50, 10.0), None), 2.0, asked_at=1.0)
        assert rates.bears(2.0) == left


def test_headers_of_a_call_that_is_long_past_tell_of_no_more() -> None:
    """Not every beginning is remembered; an answer older than those is heard only when it says less."""
    rates = _rates(Allowance(10**6, 10**5, 54.0))
    for _ in range(20_000):
        rates.begin(1.0)
    level = rates.bears(1.0)
    rates.observe(RateHints(Allowance(10**6, 9 * 10**5, 6.0), None), 1.0, asked_at=0.5)
    assert rates.bears(1.0) == level
    rates.observe(RateHints(Allowance(10**6, 1_000, 60.0), None), 1.0, asked_at=0.5)
    assert rates.bears(1.0) == 1_000


def test_the_first_headers_of_all_may_be_of_a_call_long_past() -> None:
    """It is unknown what is left then; the next calls, within a minute or two, tell."""
    rates = Rates()
    for _ in range(20_000):
        rates.begin(1.0)
    rates.observe(RateHints(Allowance(600, 600, 0.0), None), 1.0, asked_at=0.5)
    assert rates.bears_one_in_s(1.0) == pytest.approx(60.1)


def test_an_endpoint_that_is_full_at_nothing_is_still_called() -> None:
    """Headers that make no sense, nothing left and nothing missing, let calls through one by one."""
    rates = _rates(Allowance(600, 0, 0.0), Allowance(6000, 0, 0.0))
    assert rates.bears_one_in_s(0.0) == pytest.approx(0.1)
    assert rates.bears(60.0) == 1


def test_a_call_larger_than_the_limit_waits_for_all_of_it() -> None:
    """It would wait for ever otherwise."""
    bucket = Bucket(Allowance(100, 100, 0.0), 0.0, least=100)
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
    remaining = int(limit * left)
    bucket = Bucket(Allowance(limit, remaining, full_in_s), 0.0, least=remaining)
    for _ in range(takes):
        if bucket.bears(amount, 0.0):
            bucket.take(amount, 0.0)
    wait_s = bucket.bears_one_in_s(amount, 0.0)
    assert bucket.bears(amount, wait_s * (1 + 1e-9) + 1e-6) >= 1
    assert bucket.level(1e9) <= limit
