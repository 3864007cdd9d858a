"""What is believed of a quantity: an expectation that few observations bend and many replace.

A conjugate normal model (Gelman et al., "Bayesian Data Analysis", chapter 3): what was expected beforehand
counts as a few observations of its own. Sums of many calls are then close to log-normal, which is never
negative and leans to the dear side, as bills do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

from parallel_processor.estimating.moments import Moments

_STANDARD = NormalDist()
_NINETY_PERCENT = _STANDARD.inv_cdf(0.95)


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of a quantity.

    Attributes:
        mean: Its expectation.
        variance: How far a single value may be from it.
        doubt: The variance of the expectation itself.
        weight: How many observations it is worth.
        borrowed: The share of that which is not experience of its own.
    """

    mean: float
    variance: float
    doubt: float
    weight: float
    borrowed: float = 1.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a quantity lies, nine times out of ten, and its expectation."""

    low: float
    expected: float
    high: float


def assumed(mean: float, *, spread: float) -> Belief:
    """Return a belief without an observation: `spread` is a share of the mean."""
    variance = (spread * mean) ** 2
    return Belief(mean, variance, variance, 1.0)


def learned(before: Belief, seen: Moments, *, most: float = math.inf) -> Belief:
    """Return what is believed after observations.

    Args:
        before: What was believed.
        seen: The observations.
        most: The most observations that the belief before may be worth beside them.
    """
    if not seen.count:
        return before
    weight = min(before.weight, most)
    total = weight + seen.count
    apart = seen.mean - before.mean
    mean = (weight * before.mean + seen.count * seen.mean) / total
    squares = weight * before.variance + seen.squares + apart * apart * weight * seen.count / total
    variance = squares / total * (1.0 + 3.0 / total)  # few observations underrate the spread
    return Belief(mean, variance, variance / total, total, weight / total)


def limited(belief: Belief, most: float) -> Belief:
    """Return the belief of a quantity that is cut off at a limit, taking it for log-normal."""
    if belief.mean <= 0.0 or most <= 0.0:
        return belief
    if belief.variance <= 0.0:
        return replace(belief, mean=min(belief.mean, most))
    square = math.log1p(belief.variance / belief.mean**2)
    sigma = math.sqrt(square)
    middle = math.log(belief.mean) - square / 2.0
    reach = (math.log(most) - middle) / sigma
    beyond = 1.0 - _STANDARD.cdf(reach)
    mean = belief.mean * _STANDARD.cdf(reach - sigma) + most * beyond
    second = (belief.variance + belief.mean**2) * _STANDARD.cdf(reach - 2.0 * sigma) + most**2 * beyond
    shrunk = (mean / belief.mean) ** 2
    return replace(belief, mean=mean, variance=max(0.0, second - mean * mean), doubt=belief.doubt * shrunk)


def interval(mean: float, variance: float) -> Interval:
    """Return where a sum lies, nine times out of ten, taking it for log-normal."""
    if mean <= 0.0:
        return Interval(0.0, 0.0, 0.0)
    square = math.log1p(variance / mean**2)
    middle, reach = math.log(mean) - square / 2.0, _NINETY_PERCENT * math.sqrt(square)
    return Interval(math.exp(middle - reach), mean, math.exp(middle + reach))
