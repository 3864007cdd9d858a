"""How fast a job goes: items finished per second over the last minute of work, however it is told."""

from __future__ import annotations

from collections.abc import Mapping

WINDOW_S = 60


class RateWindow:
    """Counts per second of the last minute up to the latest time heard of.

    Attributes:
        first: The earliest second heard of; None before the first.
        latest: The latest second heard of.
        counts: Items finished, by second.
    """

    __slots__ = ("counts", "first", "latest")

    def __init__(
        self, *, first: int | None = None, latest: int = 0, counts: Mapping[int, int] | None = None
    ) -> None:
        self.first = first
        self.latest = latest
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, second: int, finished: int) -> None:
        """Count items that finished in a second; 0 only says that work went on."""
        self.first = second if self.first is None else min(self.first, second)
        if second > self.latest:
            self.latest = second
            self._forget()
        if finished > 0 and second > self.latest - WINDOW_S:
            self.counts[second] = self.counts.get(second, 0) + finished

    def per_second(self) -> float:
        """Return the rate; 0 before anything finished."""
        if self.first is None:
            return 0.0
        span = min(WINDOW_S, self.latest - self.first + 1)
        return sum(self.counts.values()) / span

    def _forget(self) -> None:
        oldest = self.latest - WINDOW_S
        for second in [each for each in self.counts if each <= oldest]:
            del self.counts[second]
