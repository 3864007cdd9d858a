"""When a second call is worth its money: only for those that are slowest to begin, and only so many. Pure.

After Dean and Barroso, "The Tail at Scale" (CACM 2013): a second request goes out when the first has not
answered within the 95th percentile of the expected time, which bounds the additional load. The time that
counts for a model is that to its first token; a budget bounds the second calls whatever the times do.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

_QUANTILE = 0.95
_WINDOW = 200
_LEAST = 20
"""Fewer times than this say nothing about the slowest."""

_MOST_CREDIT = 10.0
_MOST_MODELS = 200


class _Times:
    """The latest times of one model. Its mutable state: the times in the order they came, and sorted."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        if len(self._latest) == _WINDOW:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def slow_s(self) -> float | None:
        count = len(self._sorted)
        return self._sorted[int(_QUANTILE * count)] if count >= _LEAST else None


class Hedges:
    """Decides on second calls.

    Its mutable state: the latest times to the first token, by model, and how many second calls may be made.
    """

    def __init__(self, ratio: float) -> None:
        """Begin without credit.

        Args:
            ratio: The most second calls, as a share of all first ones; more than 0.
        """
        self._ratio = ratio
        self._credit = 0.0
        self._times: dict[str, _Times] = {}

    def called(self) -> None:
        """Note a first call; its share of a second one is to its credit."""
        self._credit = min(_MOST_CREDIT, self._credit + self._ratio)

    def began(self, model: str, first_token_s: float) -> None:
        """Note after how long a call brought its first token, or was given up without one."""
        times = self._times.pop(model, None) or _Times()
        if len(self._times) >= _MOST_MODELS:
            del self._times[next(iter(self._times))]
        self._times[model] = times
        times.add(first_token_s)

    def wait_s(self, model: str) -> float | None:
        """Return how long to wait for a first token before a second call; None for ever."""
        times = self._times.get(model)
        return None if times is None else times.slow_s()

    def take(self) -> bool:
        """Take the credit for a second call, if there is any."""
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def give_back(self) -> None:
        """Return the credit for a second call that was not made."""
        self._credit += 1.0
