"""Brings entries back that are stored and did not fit into memory at the start, when somebody asks for them.

Everything else that is stored is in memory, or left the store when it left memory; so a cache that was loaded
whole asks the store nothing. A store that is slow or away makes such an entry a miss, and is left alone for a
moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError
from service_common.storage.documents import Key

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.holding.rules import PurgeRules
from content_cache.live import Turn
from content_cache.repository.entries import EntryRepository

TIMEOUT_S = 1.0
"""How long a caller waits for the store before its keys are misses."""

MAX_SEGMENTS = 16
"""Most documents read at once; a batch whose keys lie in more of them misses some."""

_PAUSE_S = 1.0
_log = structlog.get_logger("content_cache.durability.read_through")


@dataclass(slots=True)
class ReadCounts:
    """What asking the store came to.

    Attributes:
        entries: Entries brought back.
        failures: Times the store did not answer in time.
        damaged: Stored records whose checksum did not fit; they are misses.
    """

    entries: int = 0
    failures: int = 0
    damaged: int = 0


class ReadThrough:
    """What was left in the store, and the way to get it.

    Attributes:
        counts: What came of it so far.
        left: What is left in the store, by address, without its bytes; to be read.
    """

    def __init__(self, repository: EntryRepository, *, clock: Clock) -> None:
        self.counts = ReadCounts()
        self._repository = repository
        self._clock = clock
        self._turn: Turn | None = None
        self.left: dict[Address, Entry] = {}
        self._remove: Callable[[Address], None] = _forget_it
        self._asks_again_at = 0.0
        # Many ask for the same segments at once: the first one reads them, the others find them read.
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self.left)

    def open(self, left: Mapping[Address, Entry], turn: Turn, *, remove: Callable[[Address], None]) -> None:
        """Take note of what the load left in the store.

        Args:
            left: The entries, without their bytes.
            turn: The turns in which they are brought back.
            remove: Removes one from the store.
        """
        self.left = dict(left)
        self._turn = turn
        self._remove = remove

    def forget(self, address: Address) -> None:
        """Take note that a key changed in memory: what is stored of it is old."""
        self.left.pop(address, None)

    def of_tenant(self, tenant: str) -> list[Address]:
        """Return the keys of a tenant's entries that are left in the store."""
        return [address for address in self.left if address.tenant == tenant]

    def left_of(self, tenant: str) -> list[Entry]:
        """Return what is known of a tenant's entries that are left in the store; they have no bytes."""
        return [entry for address, entry in self.left.items() if address.tenant == tenant]

    def segment_of(self, address: Address) -> Key | None:
        """Return the document an entry is left in; None if it is not left in any."""
        return self._repository.directory.segment_of(address) if address in self.left else None

    async def fetch(self, segments: Sequence[Key]) -> list[Entry]:
        """Read what is left in some documents, ahead of any call and without holding one up.

        Raises:
            ServiceError: As `DocumentStore.get_many`.
        """
        found = await self._repository.read(segments)
        self.counts.damaged += found.damaged
        return [each.entry for each in found.records if each.entry is not None and each.address in self.left]

    def admit(self, entry: Entry, cache: ContentCache) -> bool:
        """Put what was fetched into free memory; tell whether it is there now for it."""
        if entry.address not in self.left or not cache.restore(entry):
            return False
        self.forget(entry.address)
        self.counts.entries += 1
        return True

    def enforce(self, address: Address, rules: PurgeRules) -> bool:
        """Remove an entry from the store if it is purged; tell whether it was."""
        entry = self.left.get(address)
        if entry is None or not rules.deletes(entry):
            return False
        del self.left[address]
        self._remove(address)
        return True

    async def bring(self, tenant: str, keys: Iterable[str]) -> None:
        """Bring back what is stored and not in memory of some keys; what does not come is missing."""
        if not self.left:
            return
        wanted = [address for key in keys if (address := Address(tenant, key)) in self.left]
        if not wanted or self._clock.monotonic() < self._asks_again_at:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._read(wanted)
        except (ServiceError, TimeoutError) as error:
            self.counts.failures += 1
            self._asks_again_at = self._clock.monotonic() + _PAUSE_S
            _log.warning("read_through_failed", reason=getattr(error, "reason", "TIMEOUT"), keys=len(wanted))

    async def _read(self, wanted: Sequence[Address]) -> None:
        async with self._lock:
            missing = [address for address in wanted if address in self.left]
            segments: dict[Key, None] = {}
            for address in missing:
                segment = self._repository.directory.segment_of(address)
                if segment is not None:
                    segments[segment] = None
            found = await self._repository.read(tuple(segments)[:MAX_SEGMENTS])
            self.counts.damaged += found.damaged
            self._admit([each.entry for each in found.records if each.entry is not None], set(missing))
            if not found.damaged and len(segments) <= MAX_SEGMENTS:
                # What did not come is not there: expired, purged, or its segment is gone.
                for address in missing:
                    self.forget(address)

    def _admit(self, entries: Iterable[Entry], wanted: Collection[Address]) -> None:
        """Put what was asked for into memory, and of its neighbours what needs no room to be made."""
        if self._turn is None:
            return
        with self._turn as cache:
            for entry in entries:
                # What changed in memory while the store was asked is not in `left` any more.
                if entry.address in self.left and cache.restore(entry, make_room=entry.address in wanted):
                    self.forget(entry.address)
                    self.counts.entries += 1


def _forget_it(_address: Address) -> None:
    return
