"""Fills memory from the durable tier at the start: the most recently used first, within the byte limit.

Where it is not known when an entry was used, it counts as used when it was stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.holding.labels import LabelIndex, Tags
from content_cache.learning.heat import StoredHeat
from content_cache.moments import micros
from content_cache.repository.entries import EntryRepository
from content_cache.repository.heat import HeatRepository
from content_cache.repository.purges import PurgeRepository
from content_cache.repository.record import Record

_RETRY_S = 0.5
_SLICE = 500
_log = structlog.get_logger("content_cache.durability.loading")


@dataclass(slots=True)
class LoadCounts:
    """What the load found.

    Attributes:
        entries: Entries now in memory.
        damaged: Stored records whose checksum did not fit; they are misses.
    """

    entries: int = 0
    damaged: int = 0


def _stored_at(entry: Entry) -> int:
    return micros(entry.create_time)


class Selection:
    """The most recently used entries that fit into so many bytes, of records in any order.

    Args:
        room: How many bytes.
        bytes_of: What an entry takes of them, its labels aside.
        last_use: When an entry was used last, in microseconds since 1970.

    Attributes:
        left_out: Entries that do not fit, without their bytes.
    """

    def __init__(
        self,
        room: int,
        *,
        bytes_of: Callable[[Entry], int],
        last_use: Callable[[Entry], int] = _stored_at,
    ) -> None:
        self._room = room
        self._last_use = last_use
        self._bytes_of = bytes_of
        self._labels = LabelIndex()
        self.left_out: dict[Address, Entry] = {}
        self._tags: dict[Tags, Tags] = {}
        self._chosen: dict[Address, Record] = {}
        self._oldest: list[tuple[int, int, Record]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._chosen)

    def consider(self, record: Record) -> None:
        """Take a record that is the newest known of its key; the oldest entries make room."""
        self._drop(record.address)
        self.left_out.pop(record.address, None)
        entry = record.entry
        if entry is None:
            return
        self._chosen[record.address] = record
        self._room -= self._bytes_of(entry) + self._labels.add(entry)
        # Of the same moment, what is read first is the more recent.
        self._count += 1
        heappush(self._oldest, (self._last_use(entry), -self._count, record))
        while self._room < 0:
            _, _, oldest = heappop(self._oldest)
            if self._chosen.get(oldest.address) is oldest:
                self._drop(oldest.address)
                self.leave_out(oldest.entry)

    def leave_out(self, entry: Entry | None) -> None:
        """Take note of what is known of an entry that stays in the store."""
        if entry is not None:
            tags = self._tags.setdefault(entry.tags, entry.tags)
            self.left_out[entry.address] = replace(entry, encoded=b"", tags=tags)

    def entries(self, since: int) -> list[Entry]:
        """Return the entries written at or after a microsecond, the one used longest ago first."""
        ordered = [record for _, _, record in sorted(self._oldest, key=lambda each: each[:2])]
        return [
            each.entry
            for each in ordered
            if each.entry and each.stamp.micros >= since and self._chosen.get(each.address) is each
        ]

    def _drop(self, address: Address) -> None:
        before = self._chosen.pop(address, None)
        if before is not None and before.entry is not None:
            self._room += self._bytes_of(before.entry) + self._labels.discard(before.entry)


def _nobody(_address: Address, _uses: int) -> None:
    return


class Loader:
    """One load.

    Attributes:
        counts: What it found so far.
        left_out: Entries that are stored and did not fit into memory, without their bytes.
    """

    def __init__(
        self,
        repository: EntryRepository,
        cache: ContentCache,
        *,
        clock: Clock,
        purges: PurgeRepository | None = None,
        heat: HeatRepository | None = None,
        remember: Callable[[Address, int], None] = _nobody,
    ) -> None:
        """Prepare a load.

        Args:
            repository: Where entries are.
            cache: Where they go.
            clock: Limits the time it takes.
            purges: What has been purged is read first; None: nothing has.
            heat: Says what was used; None: nothing is known.
            remember: Is told how often keys were used, those left in the store first, the hottest last.
        """
        self.counts = LoadCounts()
        self.left_out: dict[Address, Entry] = {}
        self._purges = purges
        self._heat = heat
        self._remember = remember
        self._repository = repository
        self._cache = cache
        self._clock = clock

    async def run(self, timeout_s: float) -> None:
        """Load in bounded steps; a store that stays away leaves the cache with what came until then.

        Entries beyond the limit stay stored until they expire; `left_out` names them.

        Args:
            timeout_s: How long to try.
        """
        room = self._cache.max_bytes - self._cache.size_bytes
        heat = StoredHeat() if self._heat is None else await self._heat.load()
        selection = Selection(room, bytes_of=self._cache.bytes_of, last_use=heat.last_use)
        deadline = self._clock.monotonic() + timeout_s
        started = self._repository.overlap()
        if not await self._read_purges(deadline):
            return
        reached = await self._read(selection, deadline, since=None)
        # Again what was written meanwhile: another replica may have moved records to where was read already.
        if reached == 0 and await self._read(selection, deadline, since=started) == 0:
            self._repository.read_all(started)
        self._cache.begin_turn()
        self.left_out = selection.left_out
        await self._remember_left(heat)
        # The one used longest ago first, so that recency is as it was.
        for position, entry in enumerate(selection.entries(reached), start=1):
            # A tenant whose quota is smaller now loses its oldest entries, as if they had come one by one.
            if self._cache.restore(entry, make_room=self._cache.sizes.limited):
                self.counts.entries += 1
                self._remember(entry.address, heat.uses(entry.address))
            elif not entry.is_gone(self._cache.now):
                selection.leave_out(entry)
            if position % _SLICE == 0:
                await asyncio.sleep(0)
        _log.info("loaded", entries=self.counts.entries, damaged=self.counts.damaged)

    async def _remember_left(self, heat: StoredHeat) -> None:
        """Make known what is in demand and does not fit."""
        used: list[tuple[int, Address]] = []
        for position, entry in enumerate(self.left_out.values() if len(heat) else (), start=1):
            if heat.uses(entry.address):
                used.append((heat.last_use(entry), entry.address))
            if position % _SLICE == 0:
                await asyncio.sleep(0)
        for _, address in sorted(used):
            self._remember(address, heat.uses(address))

    async def _read_purges(self, deadline: float) -> bool:
        """Learn what has been purged; without it nothing may be loaded."""
        while self._purges is not None:
            try:
                for tenant, rules in await self._purges.changed():
                    self._cache.rules.learn(tenant, rules)
                break
            except ServiceError as error:
                _log.warning("load_failed", reason=error.reason, entries=0)
                if self._clock.monotonic() >= deadline:
                    _log.error("load_incomplete", entries=0)
                    return False
                await asyncio.sleep(_RETRY_S)
        return True

    async def _read(self, selection: Selection, deadline: float, *, since: int | None) -> int:
        """Read all pages; return the stamp down to which nothing newer can be missing, 0 if all came."""
        reached = 2**63
        cursor: str | None = None
        while self._clock.monotonic() < deadline:
            try:
                page = await self._repository.newest(cursor, since=since)
            except ServiceError as error:
                _log.warning("load_failed", reason=error.reason, entries=len(selection))
                await asyncio.sleep(_RETRY_S)
                continue
            self._consider(selection, page.records)
            self.counts.damaged += page.damaged if since is None else 0
            reached, cursor = page.reached, page.next_cursor
            if cursor is None:
                return 0
        _log.error("load_incomplete", entries=len(selection))
        return reached

    def _consider(self, selection: Selection, records: tuple[Record, ...]) -> None:
        now = self._clock.now()
        for each in records:
            if not self._repository.directory.holds(each) or (each.entry and each.entry.is_gone(now)):
                continue
            purged = each.entry is not None and self._cache.rules.deletes(each.entry)
            selection.consider(replace(each, entry=None) if purged else each)
