"""How long calls take for what they bring, against how long they took when the endpoint was not busy. Pure.

The whole latency of a call misleads, since a long output takes long, and so does latency divided by tokens,
since a short output pays the same wait for its first token. So latency is fitted as a + b · output tokens, by
least squares over calls whose weight decays, and calls are judged by how they compare with the fit. What is
compared is the sum over a round of calls, so that one slow call proves nothing.

A fit that went on learning from a busy endpoint would take its queue for its nature, as every estimate of an
idle round trip by averages does. So it learns freely only until calls have once been found to wait; from then
on it follows the endpoint down, and up only when `accept` says that fewer calls did not make them faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MEMORY = 200.0
"""About how many calls the fit remembers."""
_FEWEST = 8
"""Calls before the fit is believed, and before a round is."""
_UNCONGESTED = 1.25
"""Rounds that took more than this many times as long as fitted teach nothing about an idle endpoint."""
_SLOW = 1.3
"""Rounds that took this many times as long, and a margin for chance, have waited."""
_LEAST_WAIT_S = 0.1
"""A shorter wait is not worth a smaller limit, and may be this machine's own."""


@dataclass(slots=True)
class _Sums:
    """What least squares needs of calls: their number, and sums over tokens x and latency y."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def line(self) -> tuple[float, float]:
        """Return level and slope of the line through the calls, neither below 0."""
        spread = self.n * self.xx - self.x * self.x
        if spread <= 1e-9 * self.n * self.xx:
            return self.y / self.n, 0.0
        slope = max(0.0, (self.n * self.xy - self.x * self.y) / spread)
        level = (self.y - slope * self.x) / self.n
        return (level, slope) if level >= 0 else (0.0, self.xy / self.xx)


class LatencyFit:
    """The fit of one endpoint's latency. Its mutable state: what was learned, and the current round."""

    def __init__(self) -> None:
        self._known = _Sums()
        self._line = 0.0, 0.0
        self._round = _Sums()
        self._learning = True

    @property
    def round_calls(self) -> int:
        """Calls seen in this round."""
        return int(self._round.n)

    def add(self, latency_s: float, output_tokens: int) -> None:
        """Take in a call of the current round."""
        sums = self._round
        sums.n += 1.0
        sums.x += output_tokens
        sums.y += latency_s
        sums.xx += output_tokens * output_tokens
        sums.xy += output_tokens * latency_s

    @property
    def slowdown(self) -> float:
        """How many times longer this round's calls took than fitted; 1 while there is nothing to say."""
        fitted_s = self._fitted_s()
        return self._round.y / fitted_s if fitted_s > 0 else 1.0

    @property
    def is_slow(self) -> bool:
        """Whether this round's calls took so long that they must have waited: by chance it would be rare."""
        calls = self._round.n
        if not calls or self._known.n < _FEWEST:
            return False
        wait_s = (self._round.y - self._fitted_s()) / calls
        return wait_s > _LEAST_WAIT_S and self.slowdown > _SLOW + 1.0 / math.sqrt(calls)

    def end_round(self) -> None:
        """Begin another round: the limit has changed, or enough calls were seen."""
        slowdown = self.slowdown
        if self._learning and slowdown <= _UNCONGESTED:
            self._learn()
        elif not self._learning and self._round.n >= _FEWEST and slowdown < 1.0:
            self._scale((1.0 + slowdown) / 2)
        self._round = _Sums()

    def waited(self) -> None:
        """Take note that calls were found to wait: no more learning from averages."""
        self._learning = False

    def accept(self) -> None:
        """Take it that the endpoint has become slower by itself: what is slow is its pace now."""
        self._scale(self.slowdown)

    def fitted_s(self, output_tokens: int) -> float:
        """Return the latency a call with so many tokens has while the endpoint is not busy."""
        level, slope = self._line
        return level + slope * output_tokens

    def _fitted_s(self) -> float:
        level, slope = self._line
        return level * self._round.n + slope * self._round.x if self._known.n >= _FEWEST else self._round.y

    def _learn(self) -> None:
        known, seen = self._known, self._round
        keep = (1.0 - 1.0 / _MEMORY) ** seen.n
        self._known = _Sums(
            known.n * keep + seen.n,
            known.x * keep + seen.x,
            known.y * keep + seen.y,
            known.xx * keep + seen.xx,
            known.xy * keep + seen.xy,
        )
        if self._known.n:
            self._line = self._known.line()

    def _scale(self, factor: float) -> None:
        self._known.y *= factor
        self._known.xy *= factor
        level, slope = self._line
        self._line = level * factor, slope * factor
