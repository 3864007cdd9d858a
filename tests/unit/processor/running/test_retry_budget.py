"""The retry budget: repeats are a share of first tries and a few a second, and late ones wait their turn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.running.retry_budget import RetryBudget, RetryBudgets, RetryPolicy

POLICY = RetryPolicy(share=0.2, per_second=2.0, most=50.0, longest_s=1_000.0)


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["try", "repeat", "wait"]), st.floats(0.0, 3.0)), max_size=120)
)
def test_repeats_never_outrun_what_was_earned(steps: list[tuple[str, float]]) -> None:
    """When every repeat goes at its time, those gone by any moment were earned by then."""
    now, tries = 0.0, [0.0]
    tries.clear()
    budget = RetryBudget(POLICY, now)
    gone: list[float] = []
    for what, seconds in steps:
        if what == "wait":
            now += seconds
        elif what == "try":
            tries.append(now)
            budget.tried(now)
        else:
            gone.append(now + budget.take(now))
    for at in gone:
        earned = POLICY.per_second * (1 + at) + POLICY.share * sum(each <= max(at, now) for each in tries)
        assert sum(each <= at for each in gone) <= earned + 1 + 1e-6


def test_first_tries_earn_a_share() -> None:
    """Ten of them earn two repeats, on top of what a second gives."""
    budget = RetryBudget(POLICY, 0.0)
    for _ in range(10):
        budget.tried(0.0)
    waits = [budget.take(0.0) for _ in range(6)]
    assert waits[:4] == [0.0] * 4
    assert 0 < waits[4] < waits[5]


def test_nobody_waits_for_ever() -> None:
    """A thousand repeats at once are spread over the longest wait and not beyond."""
    policy = RetryPolicy(per_second=10.0, longest_s=20.0)
    budget = RetryBudget(policy, 0.0)
    waits = [budget.take(0.0) for _ in range(1_000)]
    assert max(waits) == 20.0
    assert budget.take(30.0) == 0.0, "it recovers at once"


def test_lanes_have_budgets_of_their_own() -> None:
    """A model that fails takes no repeats from another; the metric shows the one that is worst off."""
    budgets = RetryBudgets(POLICY)
    for _ in range(9):
        budgets.of("bad", 0.0).take(0.0)
    assert budgets.of("good", 0.0).take(0.0) == 0.0
    assert budgets.left(0.0) == 2.0 - 9
    assert budgets.left(5.0) > 0
