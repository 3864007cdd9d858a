"""What came of a version's use, as sums: adding is all that ever happens to them."""

from __future__ import annotations

from dataclasses import fields

from service_common.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over the outcomes of one version for one tenant.

    Attributes:
        outcomes: Generations reported.
        successes: Those that succeeded.
        scored: Those whose output was scored.
        score_sum: The sum of their overall scores.
        prompt_tokens: Tokens of all prompts together.
        output_tokens: Tokens of all outputs together.
        produced: Generations that have an output, complete or cut off: those output tokens come from.
        cost_micros: Cost of all generations, in micros of US dollars.
    """

    outcomes: int = 0
    successes: int = 0
    scored: int = 0
    score_sum: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    produced: int = 0
    cost_micros: int = 0

    @property
    def mean_score(self) -> float:
        """The mean overall score of the scored ones; 0 without any."""
        return self.score_sum / self.scored if self.scored else 0.0

    @property
    def mean_output_tokens(self) -> float | None:
        """The mean length of an output; None without any."""
        return self.output_tokens / self.produced if self.produced else None

    def plus(self, other: Statistics) -> Statistics:
        """Return the sums of both; counts stop at the most a store can keep."""
        return Statistics(*(min(getattr(self, each) + getattr(other, each), _MOST) for each in _FIELDS))


_MOST = 2**63 - 1
_FIELDS = tuple(each.name for each in fields(Statistics))
