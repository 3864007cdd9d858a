"""Gives back what expired entries take, in memory and in the store, without ever holding up a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.live import Turn
from content_cache.repository import EntryRepository

_SLICE_S = 0.003
"""Work of one slice; what it asks of the durable tier comes on top, about a third."""

_STEP = 50
_STORE_EVERY_S = 60.0
_STORE_SLICE = 500
_log = structlog.get_logger("content_cache.upkeep")

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


async def sweep_memory(slices: Slices, interval_s: float) -> None:
    """Remove expired entries for ever.

    Args:
        slices: How it works.
        interval_s: Seconds between rounds.
    """
    while True:
        await asyncio.sleep(interval_s)
        await slices.run(ContentCache.sweep)


async def sweep_store(repository: EntryRepository) -> None:
    """Remove what no one needs for ever, in slices; a store that is away is tried in the next round."""
    while True:
        await asyncio.sleep(_STORE_EVERY_S)
        try:
            while await repository.sweep_expired() == _STORE_SLICE:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            for _ in range(repository.directory.slices):
                while await repository.compact():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
        except ServiceError as error:
            _log.warning("sweep_failed", reason=error.reason)
