"""Telling other processors that shards can be claimed, and hearing it from them, through the store.

The bell is a hint: a ring that is lost, or not heard, costs time until somebody looks, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog
from service_common.errors import ServiceError
from service_common.storage import Feed

from parallel_processor.repository import BellRepository

_log = structlog.get_logger("parallel_processor.running.bell")
_RING_EVERY_S = 1.0
"""A hosted database takes about one write a second of one document, and each costs every listener a read."""

_SPREAD_S = 0.1


class Bell:
    """Rings, and listens. Its mutable state: whether a ring is due, and the feed while somebody listens."""

    def __init__(self, stored: BellRepository, *, rng: random.Random) -> None:
        self._stored = stored
        self._rng = rng
        self._due = asyncio.Event()
        self._feed: Feed | None = None

    @property
    def is_heard(self) -> bool:
        """Whether rings of others are heard as they happen."""
        return self._feed is not None and self._feed.is_live

    def ring(self) -> None:
        """Ring soon: at once, or with other rings when the last one was less than a second ago."""
        self._due.set()

    async def keep_ringing(self) -> None:
        """Ring whenever it is due, for ever."""
        while True:
            await self._due.wait()
            await self.flushed()
            await asyncio.sleep(_RING_EVERY_S)

    async def flushed(self) -> None:
        """Ring now if it is due; what fails stays due."""
        if not self._due.is_set():
            return
        self._due.clear()
        try:
            await self._stored.ring()
        except ServiceError as error:
            _log.info("ring_delayed", reason=error.reason)
            self._due.set()

    async def listen(self, wake: Callable[[], None]) -> None:
        """Wake somebody at every ring, for ever; not all processors in the same moment."""
        async with self._stored.watch() as feed:
            self._feed = feed
            while True:
                await feed.changed()
                await asyncio.sleep(self._rng.uniform(0, _SPREAD_S))
                wake()
