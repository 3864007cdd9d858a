"""How likely reuse is right, learned per prompt from verified comparisons, and whether that is enough.

After vCache (Schroeder et al., "vCache: Verified Semantic Prompt Caching", arXiv 2502.03771): correctness
given a similarity is logistic, `1 / (1 + exp(-gamma * (similarity - t)))`, with a threshold t of each cached
prompt's own; what is unsure is explored, that is generated and compared. Two things differ, and
docs/decisions say
why: t and gamma have a posterior on a grid instead of an estimate with a variance, and an answer is reused
only where the bound holds for reused answers by themselves, not for all answers with the generated ones
counted in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Grid: TypeAlias = NDArray[np.float64]

VERIFIED_SHARE = 0.05
"""Part of all sure reuses that is generated and compared all the same, so that learning never ends."""
MOST_OBSERVATIONS = 64
"""A prompt's own comparisons that count: its latest."""

_THRESHOLDS = np.linspace(0.0, 1.3, 53)
_GAMMAS = np.array([5.0, 10.0, 20.0, 40.0, 80.0])
_T, _GAMMA = (each.ravel() for each in np.meshgrid(_THRESHOLDS, _GAMMAS, indexing="ij"))
_LOG_BASE = np.full(_T.size, -np.log(_T.size))


@dataclass(frozen=True, slots=True)
class Observation:
    """One verified comparison.

    Attributes:
        similarity: Of the two prompts.
        same: Whether the cached answer would have been right.
    """

    similarity: float
    same: bool


@dataclass(slots=True)
class Evidence:
    """A prompt's own comparisons, the latest ones; a similarity is negative where the answer was wrong."""

    signed: array[float] = field(default_factory=lambda: array("f"))

    def add(self, observation: Observation) -> None:
        """Note a comparison."""
        if len(self.signed) == MOST_OBSERVATIONS:
            self.signed.pop(0)
        self.signed.append(observation.similarity if observation.same else -observation.similarity)

    def __iter__(self) -> Iterator[Observation]:
        return (Observation(abs(each), same=each > 0) for each in self.signed)


@dataclass(slots=True)
class Pool:
    """What all prompts of one partition have shown together; the prior of each of them.

    Attributes:
        log_likelihood: Of every threshold and slope.
        observations: How many comparisons it rests on.
    """

    log_likelihood: Grid = field(default_factory=lambda: np.zeros(_T.size))
    observations: int = 0

    def add(self, observation: Observation) -> None:
        """Learn from a comparison of any of its prompts."""
        self.log_likelihood = self.log_likelihood + _log_likelihood((observation,))
        self.observations += 1


def assured(similarity: float, pool: Pool, evidence: Iterable[Observation], *, error: float) -> float:
    """Return a lower bound of the probability that reuse is right.

    It is the greatest `(1 - epsilon) * q` where q is the correctness that is reached with probability 1 -
    epsilon: the paper's bound, over the posterior. A prompt is taken to be like the others of its pool unless
    its own comparisons say otherwise; that it is unlike them has the prior probability `error / 2`.

    Args:
        similarity: Of the two prompts.
        pool: What the partition has shown.
        evidence: What the cached prompt has shown.
        error: The error the user accepts.
    """
    own = _log_likelihood(evidence)
    like = _normalized(_LOG_BASE + pool.log_likelihood)
    log_like = np.log(like, where=like > 0, out=np.full(like.size, -np.inf)) + np.log1p(-error / 2)
    log_unlike = _LOG_BASE + np.log(error / 2)
    posterior = _normalized(np.logaddexp(log_like, log_unlike) + own)
    return _lower_bound(_correctness(similarity), posterior)


def explore_probability(assured_correctness: float, *, error: float) -> float:
    """Return how often to generate and compare instead of reusing.

    Always where the bound would not hold; else sometimes, since only comparisons teach. What is reused is
    then wrong with probability `error` at most.
    """
    return VERIFIED_SHARE if assured_correctness >= 1 - error else 1.0


def _correctness(similarity: float) -> Grid:
    probability: Grid = 1 / (1 + np.exp(-_GAMMA * (similarity - _T)))
    return probability


def _log_likelihood(observations: Iterable[Observation]) -> Grid:
    total = np.zeros(_T.size)
    for each in observations:
        distance = _GAMMA * (each.similarity - _T)
        total -= np.logaddexp(0, -distance if each.same else distance)
    return total


def _normalized(log_weights: Grid) -> Grid:
    weights: Grid = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    return weights


def _lower_bound(correctness: Grid, weights: Grid) -> float:
    order = np.argsort(correctness)
    at_least = np.cumsum(weights[order][::-1])[::-1]
    return float(np.max(np.minimum(at_least, 1.0) * correctness[order]))
