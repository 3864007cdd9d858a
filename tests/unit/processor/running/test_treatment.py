"""What each class of trouble means, and that delays are full jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from parallel_processor.jobs.piece import PieceError
from parallel_processor.model.failures import FailureClass
from parallel_processor.running.error_class import OF_REASON, ErrorClass
from parallel_processor.running.outages import Backoff
from parallel_processor.running.retry_budget import RetryBudgets, RetryPolicy
from parallel_processor.running.treatment import (
    NEVER_MIND,
    TREATMENTS,
    Again,
    Effort,
    Remedy,
    Treating,
    treat,
)
from service_common.clock import ManualClock

from tests.unit.processor.running.fakes import failure

BASE_S, CAP_S = 0.5, 20.0
DRAWS = 4_000


def backoff(seed: int = 1) -> Backoff:
    """Return the delays of one piece."""
    return Backoff(base_s=BASE_S, cap_s=CAP_S, rng=random.Random(seed))


def test_every_class_has_its_treatment() -> None:
    """No class is left to chance, and each failed call's class is among them under its own name."""
    assert TREATMENTS.keys() == set(ErrorClass)
    assert {each.name for each in FailureClass} <= {each.name for each in ErrorClass}
    assert len({each.value for each in ErrorClass}) == len(ErrorClass)
    assert set(OF_REASON.values()) <= set(ErrorClass)


def test_what_says_nothing_about_the_piece() -> None:
    """Those failures are no fault of it, however many."""
    assert {
        FailureClass.RATE_LIMITED,
        FailureClass.OVERLOADED,
        FailureClass.NETWORK,
        FailureClass.QUOTA_EXHAUSTED,
        FailureClass.UNAUTHENTICATED,
    } == NEVER_MIND


@pytest.mark.parametrize("kind", FailureClass)
def test_the_table_decides(kind: FailureClass) -> None:
    """The first failure of each class: again, a pause of the job, or the end of the piece."""
    decision = treat(failure(kind), Effort(1), backoff(), persistent=True, max_attempts=4)
    remedy = TREATMENTS[ErrorClass[kind.name]]
    if remedy is Remedy.FAIL:
        assert isinstance(decision, PieceError)
    else:
        assert isinstance(decision, Again)
        assert (decision.pause is not None) == (remedy is Remedy.PAUSE)


@pytest.mark.parametrize("failures", [0, 1, 3, 9])
def test_delays_are_full_jitter(failures: int) -> None:
    """After n failures a delay is uniform from 0 to base * 2^n, at most the cap (Kolmogorov-Smirnov)."""
    bound = min(CAP_S, BASE_S * 2**failures)
    rng = random.Random(7)
    delays = []
    for _ in range(DRAWS):
        each = Backoff(base_s=BASE_S, cap_s=CAP_S, rng=rng)
        effort = Effort(attempts=1)
        for _ in range(failures):
            treat(failure(FailureClass.NETWORK), effort, each, persistent=True, max_attempts=4)
        decision = treat(failure(FailureClass.NETWORK), effort, each, persistent=True, max_attempts=4)
        assert isinstance(decision, Again)
        delays.append(decision.delay_s)
    delays.sort()
    distance = max(abs(each / bound - (at + 0.5) / DRAWS) for at, each in enumerate(delays))
    assert distance < 1.63 / DRAWS**0.5, "not uniform (one sample in a hundred is this far off)"
    assert delays[-1] <= bound


def test_a_hint_is_a_floor_below_the_jitter() -> None:
    """Nobody asks before the endpoint wants to be asked."""
    limited = failure(FailureClass.RATE_LIMITED, retry_after_s=30.0)
    decision = treat(limited, Effort(1), backoff(), persistent=True, max_attempts=4)
    assert isinstance(decision, Again)
    assert decision.delay_s == 30.0


class Bench:
    """A treatment whose budget has two repeats, and what it counted."""

    def __init__(self) -> None:
        self.counted: list[ErrorClass] = []
        self.treating = Treating(
            max_attempts=4,
            budgets=RetryBudgets(RetryPolicy(share=0.2, per_second=2.0, most=10.0, longest_s=5.0)),
            clock=ManualClock(),
            on_error=self.counted.append,
        )

    def failed(self, kind: FailureClass) -> PieceError | Again:
        """Let a piece's second call fail."""
        return self.treating.failed("m", failure(kind), Effort(2), backoff(), persistent=True)


@pytest.mark.parametrize("kind", [FailureClass.SERVER_ERROR, FailureClass.NETWORK])
def test_beyond_the_budget_repeats_wait(kind: FailureClass) -> None:
    """The first go with their jitter alone; later ones wait for tokens, each longer, up to the most."""
    bench = Bench()
    waits = [bench.failed(kind) for _ in range(40)]
    delays = [each.delay_s for each in waits if isinstance(each, Again)]
    assert len(delays) == 40
    assert max(delays[:2]) <= BASE_S
    for at in range(3, 11):
        assert delays[at] >= 0.5 * (at - 1)
    assert max(delays) == 5.0
    assert set(bench.counted) == {ErrorClass[kind.name]}


def test_rate_limits_are_paced_by_the_lane_and_not_by_the_budget() -> None:
    """However many there are, a delay is no longer than its jitter."""
    bench = Bench()
    for _ in range(40):
        decision = bench.failed(FailureClass.RATE_LIMITED)
        assert isinstance(decision, Again)
        assert decision.delay_s <= BASE_S


CASES: dict[ErrorClass, Callable[[Treating], Any]] = {
    ErrorClass.TRUNCATED: lambda each: each.answered("m", Effort(1), truncated=True),
    ErrorClass.EMPTY: lambda each: each.empty("m", Effort(1), backoff()),
}


@pytest.mark.parametrize("kind", CASES)
def test_answers_that_are_of_little_use_are_counted(kind: ErrorClass) -> None:
    """Each in its own class, and good answers in none."""
    bench = Bench()
    bench.treating.answered("m", Effort(1), truncated=False)
    assert bench.counted == []
    CASES[kind](bench.treating)
    assert bench.counted == [kind]


def test_an_answer_without_text_is_asked_for_again_until_it_is_enough() -> None:
    """The fourth time is the end of the piece."""
    bench, effort = Bench(), Effort(1)
    decisions = [bench.treating.empty("m", effort, backoff()) for _ in range(4)]
    assert [isinstance(each, Again) for each in decisions] == [True, True, True, False]
