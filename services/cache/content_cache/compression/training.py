"""Dictionaries from their training to their end.

Promises: a dictionary is durable before anything is packed with it, so that a crash at any moment leaves
entries that can be read; it is learnt from one tenant's entries and used for that tenant's; it goes when all
of the tenant is purged, from memory and from the store, also if the store was away in that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.compression.background import Background
from content_cache.compression.body import strip
from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.compression.dictionary import Dictionary, prepare
from content_cache.compression.learning import MAX_DICTIONARY_BYTES, learn
from content_cache.compression.opening import Opening
from content_cache.compression.repository import DictionaryRepository
from content_cache.compression.samples import Samples
from content_cache.entry import Address
from content_cache.live import Turn

_LOOK_S: Final = 1.0
_FIRST_KEPT: Final = timedelta(days=1)
_MOST_VERSIONS: Final = 4
_SLICE: Final = 100
_log = structlog.get_logger("content_cache.compression")


class Training:
    """Makes, brings back and ends dictionaries.

    Args:
        turn: The turns it takes.
        dictionaries: Those in memory.
        repository: Where they are kept.
        samples: What is learnt from.
        opening: Unpacks samples.
        background: Where training is done.
        counts: Told what came of it.
        clock: Stamps them.
        level: zstd's.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        dictionaries: Dictionaries,
        repository: DictionaryRepository,
        samples: Samples,
        opening: Opening,
        background: Background,
        counts: CompressionCounts,
        clock: Clock,
        level: int,
    ) -> None:
        self._turn = turn
        self._dictionaries = dictionaries
        self._repository = repository
        self._samples = samples
        self._opening = opening
        self._background = background
        self._counts = counts
        self._clock = clock
        self._level = level
        # Tenants whose purged dictionaries may still be in the store, and the era before which they are.
        self._unpurged: dict[str, int] = {}

    async def load(self, cache: ContentCache, timeout_s: float) -> None:
        """Bring back what is stored, the latest first, before anything is served.

        What does not come in time is looked for when an entry needs it.

        Args:
            cache: Counts what they take.
            timeout_s: How long to try.
        """
        try:
            async with asyncio.timeout(timeout_s):
                cursor: str | None = None
                while True:
                    page, cursor = await self._repository.newest(cursor)
                    for dictionary, keep_until in page:
                        if self._dictionaries.has_room_for_old(dictionary.size_bytes):
                            self._dictionaries.add(prepare(dictionary, keep_until))
                    if cursor is None:
                        break
        except (ServiceError, TimeoutError) as error:
            _log.warning("dictionaries_not_loaded", reason=getattr(error, "reason", "TIMEOUT"))
        self._dictionaries.account(cache)

    async def run(self, *, train: bool) -> None:
        """Look for ever for what is to be done.

        Args:
            train: Whether to make new ones.
        """
        with self._turn as cache:
            rules = cache.rules
        for tenant in self._dictionaries.tenants():
            await self.purge(tenant, rules.floor(tenant))
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.fetch()
            await self._purge_again()
            for tenant in self._samples.due() if train else ():
                await self.train(tenant)

    async def train(self, tenant: str) -> None:
        """Make a dictionary of a tenant's samples, and take it into use if it pays."""
        with self._turn as cache:
            era = cache.rules.era(tenant)
        addresses = self._samples.take(tenant)
        if not await self._has_place(tenant):
            self._counts.rejected += 1
            return
        bodies = await self._bodies(addresses)
        _log.info("training", samples=len(bodies))
        known = self._dictionaries.latest(tenant)
        rival = known.dictionary if known and known.dictionary.era >= era else None
        content = await self._background.run(
            lambda: learn(bodies, level=self._level, rival=rival.content if rival else None)
        )
        if content is None:
            self._counts.rejected += 1
            return
        version = 1 + (known.dictionary.version if known else 0)
        made = Dictionary(tenant, content, version, era, self._clock.now(), len(bodies))
        try:
            await self._take_into_use(made)
        except ServiceError as error:
            self._counts.failed += 1
            _log.warning("dictionary_not_stored", reason=error.reason)

    async def fetch(self) -> None:
        """Look in the store for what entries named and memory does not have."""
        for tenant, name in list(self._dictionaries.wanted):
            try:
                found = await self._repository.get(tenant, name)
            except ServiceError as error:
                _log.warning("dictionary_unread", reason=error.reason)
                return
            self._dictionaries.wanted.discard((tenant, name))
            if found is None:
                self._dictionaries.lost.add((tenant, name))
                _log.error("dictionary_lost", dictionary=name)
                continue
            if self._dictionaries.has_room_for_old(found[0].size_bytes):
                with self._turn as cache:
                    self._dictionaries.add(prepare(*found))
                    self._dictionaries.account(cache)

    async def purge(self, tenant: str, floor: int) -> None:
        """End a tenant's dictionaries of eras before `floor`, unless an entry that stays needs one."""
        self._samples.forget(tenant)
        if not floor:
            return
        needed = await self._needed(tenant)
        with self._turn as cache:
            for used in self._dictionaries.of_tenant(tenant):
                if used.dictionary.era < floor and used.packing not in needed:
                    self._dictionaries.drop(tenant, used.dictionary.id)
            self._dictionaries.account(cache)
        if not any(each.dictionary.era < floor for each in self._dictionaries.of_tenant(tenant)):
            self._unpurged[tenant] = floor
            await self._purge_again()

    async def _purge_again(self) -> None:
        for tenant, floor in list(self._unpurged.items()):
            try:
                await self._repository.purge(tenant, floor)
            except ServiceError as error:
                _log.warning("dictionaries_not_purged", reason=error.reason)
                return
            if self._unpurged.get(tenant) == floor:
                del self._unpurged[tenant]

    async def _has_place(self, tenant: str) -> bool:
        """Tell whether one more may be made, after letting go what no entry in memory needs."""
        old = self._dictionaries.of_tenant(tenant)[1:]
        needed = await self._needed(tenant) if old else set()
        with self._turn as cache:
            for used in old:
                if used.packing not in needed:
                    self._dictionaries.drop(tenant, used.dictionary.id)
            self._dictionaries.account(cache)
        most = Dictionary(tenant, bytes(MAX_DICTIONARY_BYTES), 0, 0, self._clock.now(), 0).size_bytes
        return len(self._dictionaries.of_tenant(tenant)) < _MOST_VERSIONS and self._dictionaries.has_room(
            most
        )

    async def _needed(self, tenant: str) -> set[str]:
        """Return how a tenant's entries in memory are packed."""
        with self._turn as cache:
            addresses = cache.labels.of_tenant(tenant)
        needed: set[str] = set()
        for start in range(0, len(addresses), _SLICE * 10):
            with self._turn as cache:
                held = map(cache.held, addresses[start : start + _SLICE * 10])
                needed.update(each.packing for each in held if each is not None)
            await asyncio.sleep(0)
        return needed

    async def _bodies(self, addresses: Sequence[Address]) -> list[bytes]:
        found: list[bytes] = []
        for start in range(0, len(addresses), _SLICE):
            with self._turn as cache:
                for address in addresses[start : start + _SLICE]:
                    entry = cache.peek(address)
                    if entry is None:
                        continue
                    packed = bool(entry.packing)
                    body = self._opening.body(entry) if packed else strip(address.key, entry.encoded)
                    if body is not None:
                        found.append(body)
            await asyncio.sleep(0)
        return found

    async def _take_into_use(self, made: Dictionary) -> None:
        keep_until = made.create_time + _FIRST_KEPT
        await self._repository.put(made, keep_until=keep_until)
        with self._turn as cache:
            floor = cache.rules.floor(made.tenant)
            if made.era >= floor:
                self._dictionaries.add(prepare(made, keep_until))
                self._dictionaries.account(cache)
                # What it takes is given back by others, as if it were an entry.
                cache.shrink(_SLICE)
        if made.era < floor:
            # All it was learnt from was purged meanwhile.
            self._unpurged[made.tenant] = floor
            await self._purge_again()
            return
        self._counts.trainings += 1
        _log.info("dictionary_trained", version=made.version, bytes=len(made.content), samples=made.samples)
