"""How fast a migration goes and how long it will take, from what was seen lately."""

from __future__ import annotations

from collections import deque

from factory_cli.migration.worker import Position

_WINDOW_S = 10.0


class Pace:
    """The pace of one service; a new phase begins afresh."""

    def __init__(self) -> None:
        self._phase = ""
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, position: Position, now: float) -> None:
        """Take note of where it is, at a monotonic second."""
        if position.phase != self._phase:
            self._phase = position.phase
            self._seen.clear()
        self._seen.append((now, position.documents))
        while now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """Documents a second; None while that is not known."""
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def left_s(self, total: int) -> float | None:
        """Return the seconds that are left of this phase."""
        rate = self.per_second
        return (total - self._seen[-1][1]) / rate if rate and total else None
