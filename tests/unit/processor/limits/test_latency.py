"""Judging latency: by what calls bring, by many of them, and against an endpoint that was not busy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.limits.latency import LatencyFit


def _taught(level_s: float, per_token_s: float) -> LatencyFit:
    fit, rng = LatencyFit(), random.Random(1)
    for _ in range(10):
        for _ in range(20):
            tokens = rng.randint(10, 500)
            fit.add(level_s + per_token_s * tokens, tokens)
        fit.end_round()
    return fit


@given(level=st.floats(0.0, 5.0), per_token=st.floats(0.0001, 0.1), tokens=st.integers(1, 2000))
def test_it_learns_both_parts_of_a_latency(level: float, per_token: float, tokens: int) -> None:
    """The wait for the first token and the time per token are told apart, so any length is foretold."""
    fitted_s = _taught(level, per_token).fitted_s(tokens)
    assert fitted_s == pytest.approx(level + per_token * tokens, rel=0.05, abs=0.01)


def test_a_round_that_waited_is_slow() -> None:
    """Twice the latency for what it brings is slow; a length never seen before is not."""
    fit = _taught(0.5, 0.01)
    for _ in range(16):
        fit.add(0.5 + 0.01 * 2000, 2000)
    assert not fit.is_slow
    fit.end_round()
    for _ in range(16):
        fit.add(2 * (0.5 + 0.01 * 50), 50)
    assert fit.is_slow
    assert fit.slowdown == pytest.approx(2.0, rel=0.05)


def test_one_slow_call_proves_nothing() -> None:
    """Of few calls more must be slow, and of one much more."""
    fit = _taught(0.5, 0.01)
    fit.add(2.2 * (0.5 + 0.01 * 50), 50)
    assert not fit.is_slow


def test_short_waits_are_no_waits() -> None:
    """Tenfold of a few milliseconds is this machine's own doing."""
    fit = _taught(0.002, 0.00001)
    for _ in range(64):
        fit.add(0.03, 100)
    assert not fit.is_slow


def test_a_busy_endpoint_teaches_nothing() -> None:
    """Once calls were found to wait, a queue that stays is not taken for the endpoint's nature."""
    fit = _taught(1.0, 0.0001)
    fit.waited()
    for _ in range(50):
        for _ in range(20):
            fit.add(1.2, 100)
        fit.end_round()
    assert fit.fitted_s(100) == pytest.approx(1.01, rel=0.01)
    fit.add(2.0, 100)
    fit.accept()
    assert fit.fitted_s(100) == pytest.approx(2.0, rel=0.01)


def test_an_endpoint_that_becomes_faster_is_followed() -> None:
    """Below what was fitted there can be no queue."""
    fit = _taught(1.0, 0.0001)
    fit.waited()
    for _ in range(10):
        for _ in range(20):
            fit.add(0.5, 100)
        fit.end_round()
    assert fit.fitted_s(100) == pytest.approx(0.5, rel=0.02)
