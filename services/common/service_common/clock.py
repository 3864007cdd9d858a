"""Time as a dependency: code that needs it is handed a `Clock`, so tests decide what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: the calendar's, and one that never goes back."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clock; read often enough that a frame of Python between would show.

    Attributes:
        now: Returns the wall-clock time, aware, in UTC.
        monotonic: Returns the machine's monotonic seconds.
    """

    __slots__ = ()
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until told otherwise, for tests and simulations."""

    __slots__ = ("_monotonic", "_now")

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("start must be timezone-aware")
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced since it was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        Args:
            seconds: How far; not negative.

        Raises:
            ValueError: If it would go back.
        """
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
