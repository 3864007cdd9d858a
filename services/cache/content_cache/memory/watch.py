"""Does in the running process what the memory guard says: collects garbage, shrinks, gives memory back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from service_common.clock import Clock

from content_cache.cache import ContentCache
from content_cache.memory.guard import MemoryGuard, MemoryReading
from content_cache.slices import Slices

THAW_EVERY_S = 3600.0
"""Looking at everything stops calls for a fifth of a second per million entries, so it is done rarely."""

_log = structlog.get_logger("content_cache.memory.watch")


class Readings(Protocol):
    """Where readings come from."""

    def read(self) -> MemoryReading:
        """Return what is taken now of what there is."""
        ...


class MemoryWatch:
    """Keeps one cache within what the kernel allows.

    Args:
        cache: The cache whose limit it sets.
        guard: Decides.
        slices: How entries leave.
        readings: What it looks at.
        clock: Says how long it has been calm.
        thaw: Finds garbage among what is frozen.
        give_back: Returns freed memory to the kernel; called in another thread.
    """

    def __init__(
        self,
        cache: ContentCache,
        guard: MemoryGuard,
        *,
        slices: Slices,
        readings: Readings,
        clock: Clock,
        thaw: Callable[[], object],
        give_back: Callable[[], None],
    ) -> None:
        self._cache = cache
        self._guard = guard
        self._slices = slices
        self._readings = readings
        self._clock = clock
        self._thaw = thaw
        self._give_back = give_back
        self._thawed_at = clock.monotonic()
        self._lowered = False

    async def run(self, interval_s: float) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()

    async def look(self) -> None:
        """Take one reading, and do what it asks for."""
        must_shrink = self._decide()
        self._cache.resize(self._guard.allowed_bytes)
        if must_shrink:
            await self._slices.run(ContentCache.shrink)
            await asyncio.get_running_loop().run_in_executor(None, self._give_back)

    def _decide(self) -> bool:
        now = self._clock.monotonic()
        reading = self._readings.read()
        if reading.is_high and now - self._thawed_at >= THAW_EVERY_S:
            self._thawed_at = now
            self._thaw()
            reading = self._readings.read()
        before = self._guard.allowed_bytes
        must_shrink = self._guard.read(reading, cache_bytes=self._cache.size_bytes, now=now)
        self._tell(reading, before, must_shrink=must_shrink)
        return must_shrink

    def _tell(self, reading: MemoryReading, before: int, *, must_shrink: bool) -> None:
        allowed = self._guard.allowed_bytes
        facts = {
            "used_bytes": reading.used_bytes,
            "limit_bytes": reading.limit_bytes,
            "limit_of": reading.source,
            "allowed_bytes": allowed,
        }
        if must_shrink:
            _log.warning("memory_shrinking", **facts, at_floor=self._guard.at_floor)
            self._lowered = True
        elif self._lowered and before < allowed == self._guard.wanted_bytes:
            _log.info("memory_recovered", **facts)
            self._lowered = False
