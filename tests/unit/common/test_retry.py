"""When calls are repeated, and the bounds of every wait."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_common.errors import ErrorKind, ServiceError, unavailable
from service_common.resilience.deadline import outgoing_timeout_s
from service_common.resilience.retry import CIRCUIT_OPEN, RetryPolicy, full_jitter_s, retry_delay_s

POLICY = RetryPolicy(max_attempts=3, base_s=0.1, cap_s=1)


def decide(
    error: ServiceError, attempt: int = 1, *, idempotent: bool = True, left: float = 10
) -> float | None:
    """Ask with a fixed policy."""
    return retry_delay_s(
        error, attempt, policy=POLICY, idempotent=idempotent, remaining_s=left, rng=random.Random(1)
    )


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(0.001, 100), st.integers())
def test_jitter_stays_under_the_exponential_ceiling(attempt: int, base: float, cap: float, seed: int) -> None:
    """Every wait lies between nothing and min(cap, base * 2^(n-1))."""
    wait = full_jitter_s(attempt, base_s=base, cap_s=cap, rng=random.Random(seed))
    assert 0 <= wait <= min(cap, base * 2.0 ** min(attempt - 1, 32))


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind is not ErrorKind.UNAVAILABLE])
def test_only_unavailable_is_retried(kind: ErrorKind) -> None:
    """Any other kind is final."""
    assert decide(ServiceError(kind, "X", "x")) is None


def test_the_conditions_of_a_retry() -> None:
    """Idempotent, attempts left, breaker not open."""
    error = unavailable("DOWN", "x")
    assert decide(error) is not None
    assert decide(error, idempotent=False) is None
    assert decide(error, attempt=3) is None
    assert decide(unavailable(CIRCUIT_OPEN, "x")) is None


def test_retry_info_is_a_floor_and_the_deadline_a_ceiling() -> None:
    """A server's wish is honoured, unless the deadline would pass meanwhile."""
    error = unavailable("DOWN", "x", retry_after=timedelta(seconds=3))
    delay = decide(error)
    assert delay is not None
    assert delay >= 3
    assert decide(error, left=2.9) is None


def test_outgoing_calls_end_before_their_caller_does() -> None:
    """The shorter of own limit and caller's remaining time, less a margin."""
    assert outgoing_timeout_s(2, deadline=None, now=100) == 2
    assert outgoing_timeout_s(2, deadline=200, now=100) == 2
    assert 0.9 < outgoing_timeout_s(2, deadline=101, now=100) < 1
    assert outgoing_timeout_s(2, deadline=100, now=100) <= 0
