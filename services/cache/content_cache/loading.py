"""Fills memory from the durable tier at the start: the most recently stored first, within the byte limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.entry import Entry
from content_cache.repository import EntryRepository

_RETRY_S = 0.5
_SLICE = 500
_log = structlog.get_logger("content_cache.loading")


@dataclass(slots=True)
class LoadCounts:
    """What the load found.

    Attributes:
        entries: Entries now in memory.
        damaged: Stored entries whose checksum did not fit; they are misses.
    """

    entries: int = 0
    damaged: int = 0


class Loader:
    """One load.

    Attributes:
        counts: What it found so far.
    """

    def __init__(self, repository: EntryRepository, cache: ContentCache, *, clock: Clock) -> None:
        self.counts = LoadCounts()
        self._repository = repository
        self._cache = cache
        self._clock = clock

    async def run(self, timeout_s: float) -> None:
        """Load in bounded steps; a store that stays away leaves the cache with what came until then.

        Entries beyond the limit stay stored until they expire, for a later start with more memory.

        Args:
            timeout_s: How long to try.
        """
        found = await self._read(self._clock.monotonic() + timeout_s)
        self._cache.begin_turn()
        # The oldest first, so that recency is as it was.
        for position, entry in enumerate(reversed(found), start=1):
            self.counts.entries += self._cache.restore(entry)
            if position % _SLICE == 0:
                await asyncio.sleep(0)
        _log.info("loaded", entries=self.counts.entries, damaged=self.counts.damaged)

    async def _read(self, deadline: float) -> list[Entry]:
        found: list[Entry] = []
        room = self._cache.max_bytes - self._cache.size_bytes
        cursor: str | None = None
        while self._clock.monotonic() < deadline:
            try:
                page = await self._repository.newest(cursor)
            except ServiceError as error:
                _log.warning("load_failed", reason=error.reason, entries=len(found))
                await asyncio.sleep(_RETRY_S)
                continue
            self.counts.damaged += page.damaged
            for entry in page.entries:
                room -= entry.size_bytes
                if room < 0:
                    return found
                found.append(entry)
            cursor = page.next_cursor
            if cursor is None:
                return found
        _log.error("load_incomplete", entries=len(found))
        return found
