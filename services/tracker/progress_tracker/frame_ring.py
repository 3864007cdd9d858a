"""The latest events of a watched job, as frames that watchers at the same place share; bounded in bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from progress_tracker.frames import Frame, fitting, join_events, with_token

MAX_RING_BYTES = 1024 * 1024

MakeToken = Callable[[int], str]
"""Returns the token that continues after a sequence number."""


class FrameRing:
    """A run of events without gaps, ending with the newest heard of.

    Attributes:
        first: The number of the oldest event held.
    """

    __slots__ = ("_events", "_frames", "_size", "first")

    def __init__(self) -> None:
        self.first = 1
        self._events: list[bytes] = []
        self._size = 0
        self._frames: dict[int, Frame] = {}

    @property
    def last(self) -> int:
        """The number of the newest event held; one before `first` when there is none."""
        return self.first + len(self._events) - 1

    def add(self, first: int, events: Sequence[bytes]) -> None:
        """Take in events that have become durable; a gap before them drops what is older."""
        if first != self.last + 1:
            self.restart(first)
        self._events.extend(events)
        self._size += sum(map(len, events))
        self._frames.clear()
        self._trim()

    def restart(self, first: int) -> None:
        """Drop everything; the next event is of this number."""
        self.first = first
        self._events.clear()
        self._frames.clear()
        self._size = 0

    def frame_after(self, sequence: int, make_token: MakeToken) -> Frame | None:
        """Return the frame with as much as fits after a number; None if the next event is not here."""
        if not self.first <= sequence + 1 <= self.last:
            return None
        frame = self._frames.get(sequence)
        if frame is None:
            frame = self._frames[sequence] = make_frame(
                self._events, sequence + 1 - self.first, first=sequence + 1, make_token=make_token
            )
        return frame

    def _trim(self) -> None:
        if self._size <= MAX_RING_BYTES:
            return
        sizes: list[int] = []
        total = 0
        for event in self._events:
            total += len(event)
            sizes.append(total)
        # Down to half, so that trimming is rare.
        drop = bisect_right(sizes, self._size - MAX_RING_BYTES // 2)
        self._size -= sizes[drop - 1] if drop else 0
        del self._events[:drop]
        self.first += drop


def make_frame(events: Sequence[bytes], start: int, *, first: int, make_token: MakeToken) -> Frame:
    """Return a frame of the events from `start` on, as many as fit.

    Args:
        events: Encoded events.
        start: Which is the frame's first.
        first: The number of that one.
        make_token: Makes the frame's token.
    """
    count = fitting(events, start)
    last = first + count - 1
    return Frame(first, last, with_token(join_events(events[start : start + count]), make_token(last)))
