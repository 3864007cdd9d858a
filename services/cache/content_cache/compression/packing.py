"""Packs what was stored a moment ago, in rounds, beside everything else.

A caller that stores waits for nothing, and those who wait for an entry get it as it came. A round takes what
gathered, packs it in a thread of low priority and puts the packed form in the entry's place if that is still
there; it is over long before the entry is written to the store. What comes faster than it is packed stays as
it came.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from time import thread_time
from typing import Final

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.compression.background import Background
from content_cache.compression.codec import Compressor
from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.compression.dictionary import PLAIN, Dictionary, InUse
from content_cache.compression.repository import DictionaryRepository
from content_cache.compression.samples import Samples
from content_cache.entry import Address, Entry
from content_cache.holding.rules import PurgeRules
from content_cache.insight.latencies import Observe
from content_cache.live import Turn

_GATHER_S: Final = 0.02
_ROUND_ENTRIES: Final = 256
_ROUND_BYTES: Final = 2 * 1024 * 1024
_EXCHANGED_AT_ONCE: Final = 64
_MOST_WAITING: Final = 100_000
_SLACK: Final = timedelta(days=1)
_log = structlog.get_logger("content_cache.compression")

Held = Callable[[Address], Entry | None]


class Packing:
    """The keys whose entries are to be packed, and the loop that does it.

    Args:
        held: Tells what memory holds under a key.
        turn: The turns in which packed entries take their places.
        dictionaries: Those in memory.
        repository: Where they are kept.
        samples: Told of what was packed.
        background: Where packing is done.
        counts: Told what came of it.
        rules: What has been purged.
        clock: Says how long a dictionary must be kept.
        observe: Is told the processor's seconds each entry's packing took.
        threshold: Bytes from which an entry is packed.
        level: zstd's.
    """

    def __init__(
        self,
        held: Held,
        turn: Turn,
        *,
        dictionaries: Dictionaries,
        repository: DictionaryRepository,
        samples: Samples,
        background: Background,
        counts: CompressionCounts,
        rules: PurgeRules,
        clock: Clock,
        observe: Observe,
        threshold: int,
        level: int,
    ) -> None:
        self._held = held
        self._turn = turn
        self._dictionaries = dictionaries
        self._repository = repository
        self._samples = samples
        self._background = background
        self._counts = counts
        self._rules = rules
        self._clock = clock
        self._observe = observe
        self._threshold = threshold
        self._level = level
        self._plain = Compressor(level)
        # One at a time per tenant: the latest dictionary's.
        self._compressors: dict[str, tuple[str, Compressor]] = {}
        self._waiting: dict[Address, None] = {}
        self._noted = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, address: Address) -> None:
        """Queue a key whose entry changed."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[address] = None
            self._noted.set()

    async def run(self) -> None:
        """Pack for ever."""
        while True:
            await self._noted.wait()
            await asyncio.sleep(_GATHER_S)
            await self.round()

    async def round(self) -> None:
        """Pack what waits, as much as one round takes."""
        for tenant, entries in self._take().items():
            used = await self._ready(tenant, entries)
            compressor = self._compressor(tenant, used)
            packed = await self._background.run(
                lambda compressor=compressor, entries=entries: _pack_all(compressor, entries)  # type: ignore[misc] # mypy: defaults of a lambda
            )
            for _, seconds in packed:
                self._observe(seconds)
            await self._exchange(entries, [content for content, _ in packed], used)
        if not self._waiting:
            self._noted.clear()

    def _take(self) -> Mapping[str, list[Entry]]:
        """Take from the queue what is held and worth packing, by tenant."""
        taken: dict[str, list[Entry]] = defaultdict(list)
        size = 0
        looked_at = list(islice(self._waiting, _ROUND_ENTRIES))
        for address in looked_at:
            del self._waiting[address]
            entry = self._held(address)
            if entry is None or entry.packing or len(entry.encoded) < self._threshold:
                continue
            taken[address.tenant].append(entry)
            size += len(entry.encoded)
            if size >= _ROUND_BYTES:
                break
        return taken

    async def _ready(self, tenant: str, entries: Sequence[Entry]) -> InUse | None:
        """Return the dictionary to pack with, stored for as long as it will be needed; None for none."""
        used = self._dictionaries.latest(tenant)
        if used is None or not self._may_use(used.dictionary):
            return None
        latest = max(each.leave_time for each in entries)
        if latest > used.keep_until:
            keep_until = latest + (latest - self._clock.now()) + _SLACK
            try:
                await self._repository.put(used.dictionary, keep_until=keep_until)
                if not self._may_use(used.dictionary):
                    await self._repository.purge(tenant, self._rules.floor(tenant))
                    return None
            except ServiceError as error:
                _log.warning("dictionary_not_kept", reason=error.reason)
                return None
            used.keep_until = keep_until
        return used

    def _may_use(self, dictionary: Dictionary) -> bool:
        return dictionary.era >= self._rules.floor(dictionary.tenant)

    def _compressor(self, tenant: str, used: InUse | None) -> Compressor:
        if used is None:
            self._compressors.pop(tenant, None)
            return self._plain
        known = self._compressors.get(tenant)
        if known is None or known[0] != used.packing:
            known = (used.packing, Compressor(self._level, used.dictionary))
            self._compressors[tenant] = known
        return known[1]

    async def _exchange(
        self, entries: Sequence[Entry], packed: Sequence[bytes | None], used: InUse | None
    ) -> None:
        """Put the packed forms in their places, a few at a time."""
        pairs = list(zip(entries, packed, strict=True))
        for start in range(0, len(pairs), _EXCHANGED_AT_ONCE):
            with self._turn as cache:
                if used is not None and not self._is_current(used):
                    return
                for entry, content in pairs[start : start + _EXCHANGED_AT_ONCE]:
                    self._samples.saw(entry.address)
                    if content is None:
                        continue
                    packing = PLAIN if used is None else used.packing
                    if cache.repack(entry, replace(entry, encoded=content, packing=packing)):
                        self._count(entry, len(content), used)
            await asyncio.sleep(0)

    def _is_current(self, used: InUse) -> bool:
        """Tell whether a dictionary was not purged while it was being packed with."""
        dictionary = used.dictionary
        held = self._dictionaries.get(dictionary.tenant, dictionary.id)
        return held is used and self._may_use(dictionary)

    def _count(self, entry: Entry, after: int, used: InUse | None) -> None:
        before = len(entry.encoded)
        self._counts.packed(entry.address.tenant, before, after, trained=used is not None)
        if used is not None:
            used.packed.add(before, after)


def _pack_all(compressor: Compressor, entries: Sequence[Entry]) -> list[tuple[bytes | None, float]]:
    """Return each entry packed, and the processor's seconds it took."""
    packed = []
    for each in entries:
        begun = thread_time()
        content = compressor.pack(each.address.key, each.encoded)
        packed.append((content, thread_time() - begun))
    return packed
