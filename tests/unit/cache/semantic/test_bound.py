"""The bound: reuse only where comparisons have shown it right often enough; its own count more."""

from __future__ import annotations

import random

from content_cache.semantic.bound import (
    MOST_OBSERVATIONS,
    VERIFIED_SHARE,
    Evidence,
    Observation,
    Pool,
    assured,
    explore_probability,
)
from hypothesis import given, settings
from hypothesis import strategies as st

OBSERVATIONS = st.lists(st.builds(Observation, st.floats(0.3, 1.0), st.booleans()), max_size=40)


def pool_of(*observations: Observation) -> Pool:
    """Make a pool that has seen these."""
    pool = Pool()
    for each in observations:
        pool.add(each)
    return pool


def right(similarity: float, count: int) -> list[Observation]:
    """Make so many right comparisons."""
    return [Observation(similarity, same=True)] * count


def test_nothing_is_reused_before_anything_was_verified() -> None:
    """Without comparisons even equal vectors are explored."""
    sure = assured(1.0, Pool(), (), error=0.2)
    assert sure < 0.8
    assert explore_probability(sure, error=0.2) == 1.0


def test_below_the_bound_everything_is_explored() -> None:
    """One hair under 1 - error is explored always, at it only now and then."""
    assert explore_probability(0.9899, error=0.01) == 1.0
    assert explore_probability(0.99, error=0.01) == VERIFIED_SHARE


def test_enough_right_comparisons_allow_reuse_and_a_smaller_error_needs_more() -> None:
    """A bound of 1 % is reached later than one of 2 %; both leave a share for verification."""
    needed = {}
    for error in (0.01, 0.02):
        pool = Pool()
        while assured(0.9, pool, (), error=error) < 1 - error:
            pool.add(Observation(0.9, same=True))
        needed[error] = pool.observations
        assert explore_probability(assured(0.9, pool, (), error=error), error=error) == VERIFIED_SHARE
    assert 1 / 0.02 < needed[0.02] < needed[0.01] < 1000


@settings(max_examples=60, deadline=None)
@given(OBSERVATIONS, OBSERVATIONS, st.floats(0.5, 1.0), st.floats(0.0, 0.5))
def test_it_is_a_probability_that_grows_with_similarity(
    pooled: list[Observation], own: list[Observation], similarity: float, more: float
) -> None:
    """More similar is never less sure, and a right comparison of its own never makes less sure there."""
    pool = pool_of(*pooled)
    lower = assured(similarity, pool, own, error=0.05)
    higher = assured(min(1.0, similarity + more), pool, own, error=0.05)
    assert 0 <= lower <= higher + 1e-9
    assert higher <= 1
    assert assured(similarity, pool, [*own, Observation(similarity, same=False)], error=0.05) <= lower + 1e-9


def test_a_wrong_answer_makes_its_own_prompt_careful_and_not_the_others() -> None:
    """After errors of its own a prompt is explored, while the pool still vouches for the others."""
    pool = pool_of(*right(0.9, 2000), Observation(0.9, same=False))
    assert assured(0.9, pool, (), error=0.01) >= 0.99
    assert assured(0.9, pool, [Observation(0.9, same=False)] * 2, error=0.01) < 0.99


def test_a_prompt_can_earn_what_its_pool_cannot_give() -> None:
    """In a mixed pool a prompt with many right comparisons of its own is reused; the others are not."""
    draws = random.Random(1)
    pool = pool_of(*(Observation(0.9, same=draws.random() < 0.6) for _ in range(300)))
    assert assured(0.9, pool, (), error=0.1) < 0.9
    assert assured(0.9, pool, right(0.9, MOST_OBSERVATIONS), error=0.1) >= 0.9


def test_reused_answers_are_wrong_at_most_as_often_as_asked() -> None:
    """Simulated prompts with thresholds of their own: of what is reused no more than the error is wrong."""
    draws = random.Random(7)
    error, wrong, reused, pool = 0.05, 0, 0, Pool()
    prompts = [(0.55 + 0.35 * draws.random() ** 2, Evidence()) for _ in range(40)]
    for _ in range(4000):
        threshold, own = draws.choice(prompts)
        similarity = 0.5 + draws.random() / 2
        same = draws.random() < 1 / (1 + 2.718281828 ** (-40 * (similarity - threshold)))
        sure = assured(similarity, pool, own, error=error)
        if draws.random() >= explore_probability(sure, error=error):
            reused += 1
            wrong += not same
        else:
            pool.add(Observation(similarity, same))
            own.add(Observation(similarity, same))
    assert reused > 400
    assert wrong <= error * reused


def test_the_latest_comparisons_count() -> None:
    """A prompt's evidence is bounded; the oldest leave, and what was wrong stays wrong."""
    evidence = Evidence()
    wrong = Observation(0.5, same=False), Observation(0.25, same=False)
    for each in (wrong[0], *right(0.75, MOST_OBSERVATIONS - 1), wrong[1]):
        evidence.add(each)
    kept = list(evidence)
    assert len(kept) == MOST_OBSERVATIONS
    assert kept[0] == Observation(0.75, same=True)
    assert kept[-1] == wrong[1]
