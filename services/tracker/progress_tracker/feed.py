"""What is new about one watched job, for all its watchers at once; announced no faster than they can be told.

Announcements are paced by the number of watchers, so that a busy job with many of them is told in fewer,
fuller frames. Watchers only see announced events, so all stand at the ends of the same frames and share them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from progress_tracker.change_signal import Signal
from progress_tracker.frame_ring import FrameRing
from progress_tracker.frames import Frame
from progress_tracker.progress import JobProgress
from progress_tracker.report import JobState

FRAMES_PER_SECOND = 2500
"""Frames per second over all watchers of a job; about a third of what one core can write."""

LEAST_INTERVAL_S = 0.01
END_GRACE = timedelta(seconds=30)
"""How long after the last event a finished job is watched on, when items are still missing.

They ended, so someone will tell of them: a processor that could not for a while does so again within 20 s.
"""

CANCELLED_GRACE = timedelta(seconds=2)
"""The same for a cancelled job: of items that were never begun there may be nothing to tell."""


def announcement_interval_s(watchers: int) -> float:
    """Return the least time between two announcements to so many watchers."""
    return max(LEAST_INTERVAL_S, watchers / FRAMES_PER_SECOND)


class JobFeed:
    """The newest announced state of a job.

    Attributes:
        progress: The latest snapshot; None while there is no such job.
        watchers: How many follow.
        changed: Fires when something is announced, and when the feed closes.
        closed: Whether the tracker is shutting down.
        committed_at: Loop time of the latest commit made by this tracker.
    """

    def __init__(self, make_token: Callable[[str, int], str]) -> None:
        self._make_token = make_token
        self._ring = FrameRing()
        self._waiting: list[tuple[int, Sequence[bytes]]] = []
        self._newest: JobProgress | None = None
        self._announced_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self.progress: JobProgress | None = None
        self.watchers = 0
        self.changed = Signal()
        self.closed = False
        self.committed_at = float("-inf")

    def committed(self, progress: JobProgress, first: int, events: Sequence[bytes]) -> None:
        """Take in a commit of this tracker."""
        self.committed_at = asyncio.get_running_loop().time()
        if events:
            self._waiting.append((first, events))
        self._take(progress)

    def observed(self, progress: JobProgress | None) -> None:
        """Take in a snapshot read from the store; one that is not newer changes nothing."""
        if progress is not None and _is_newer(progress, self._newest):
            self._take(progress)

    def frame_after(self, sequence: int) -> Frame | None:
        """Return the shared frame after a number; None if the next event is not in memory."""
        return self._ring.frame_after(sequence, self.token)

    def token(self, sequence: int) -> str:
        """Return the token that continues after a number; none while there is no such job."""
        return "" if self.progress is None else self._make_token(self.progress.log_id, sequence)

    def close(self) -> None:
        """Let every watcher know that it is over."""
        self.closed = True
        self.stop_timer()
        self.changed.fire()

    def stop_timer(self) -> None:
        """Forget a planned announcement."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, progress: JobProgress) -> None:
        self._newest = progress
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        due = self._announced_at + announcement_interval_s(self.watchers)
        if loop.time() >= due:
            self._announce()
        else:
            self._timer = loop.call_at(due, self._announce)

    def _announce(self) -> None:
        self._timer = None
        self._announced_at = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        for first, events in waiting:
            self._ring.add(first, events)
        self.progress = self._newest
        self.changed.fire()


def _is_newer(progress: JobProgress, known: JobProgress | None) -> bool:
    return known is None or progress.log_id != known.log_id or progress.revision > known.revision


def ends_in_s(progress: JobProgress, now: datetime) -> float | None:
    """Return the seconds until nothing more is expected of a job; None while it goes on."""
    if progress.is_complete:
        return 0.0
    if not progress.state.is_terminal or progress.update_time is None:
        return None
    grace = CANCELLED_GRACE if progress.state is JobState.CANCELLED else END_GRACE
    return max(0.0, (progress.update_time + grace - now).total_seconds())
