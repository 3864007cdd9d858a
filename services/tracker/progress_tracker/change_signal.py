"""A change many can wait for, without losing one that comes while nobody looks."""

from __future__ import annotations

import asyncio


class Signal:
    """Counts changes; whoever knows an older count is behind.

    Attributes:
        count: Changes so far.
    """

    __slots__ = ("_next", "count")

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def fire(self) -> None:
        """Wake everyone who waits."""
        self.count += 1
        fired, self._next = self._next, asyncio.Event()
        fired.set()

    async def wait(self, known: int, timeout_s: float) -> bool:
        """Return whether a change after the known count came within the time."""
        if self.count != known:
            return True
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._next.wait()
        except TimeoutError:
            return False
        return True
