"""Work on the cache in slices so short that they never hold up a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service_common.clock import Clock

from content_cache.cache import ContentCache
from content_cache.live import Turn

_SLICE_S = 0.003
"""Work of one slice; what it asks of the durable tier comes on top, about a third."""

_STEP = 50

Work = Callable[[ContentCache, int], int]


class Slices:
    """Work on the cache in slices of at most five milliseconds, between which calls get through.

    Args:
        turn: The turns it takes, on a cache that is open.
        clock: Measures them.
    """

    def __init__(self, turn: Turn, clock: Clock) -> None:
        self._turn = turn
        self._clock = clock

    async def run(self, work: Work) -> None:
        """Repeat work until it does less than it may."""
        while self.slice(work):  # noqa: ASYNC110 - lets calls through between slices, polls nothing
            await asyncio.sleep(0)

    def slice(self, work: Work) -> bool:
        """Do work for one slice; tell whether there may be more."""
        with self._turn as cache:
            end = self._clock.monotonic() + _SLICE_S
            while work(cache, _STEP) == _STEP:
                if self._clock.monotonic() >= end:
                    return True
        return False
