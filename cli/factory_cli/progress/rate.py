"""The rate at which items finish, seen from outside: for the time when the tracker cannot tell."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from factory_cli.progress.snapshot import JobSnapshot

_WINDOW_S = 30.0


class RateMeter:
    """Fills in rate and time to go where a snapshot lacks them; fed with every snapshot, in order."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def complete(self, snapshot: JobSnapshot, *, now: float) -> JobSnapshot:
        """Return the snapshot with what can be worked out.

        Args:
            snapshot: What was told.
            now: Monotonic seconds.
        """
        self._seen.append((now, snapshot.finished))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:  # noqa: PLR2004 - a rate takes two points
            self._seen.popleft()
        if snapshot.items_per_second is not None or snapshot.is_final:
            return snapshot
        started, finished_then = self._seen[0]
        if now <= started or snapshot.finished <= finished_then:
            return snapshot
        rate = (snapshot.finished - finished_then) / (now - started)
        return replace(snapshot, items_per_second=rate, eta_s=(snapshot.total - snapshot.finished) / rate)
