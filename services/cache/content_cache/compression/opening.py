"""Entries on their way out: unpacked if they were packed, a miss if that fails.

An entry that does not come back is worth nothing to anybody: it leaves, in memory and in the store, and the
next caller generates it anew. Only while its dictionary has not been looked for in the store does it stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from zstandard import ZstdDecompressor

from content_cache.cache import ContentCache
from content_cache.compression.codec import UnpackError, unpack, unpack_body
from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.compression.dictionary import dictionary_of
from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import Stale
from content_cache.leasing.waiting import Decided

UNREAD = "dictionary_unread"


class Opening:
    """Unpacks on the thread of the loop.

    Args:
        dictionaries: Those in memory.
        counts: Told of what fails.
    """

    def __init__(self, dictionaries: Dictionaries, counts: CompressionCounts) -> None:
        self._dictionaries = dictionaries
        self._counts = counts
        self._plain = ZstdDecompressor()

    def sent(self, cache: ContentCache, entry: Entry) -> bytes | None:
        """Return an entry that `cache.get` found as it is sent; None if it turns out to be a miss."""
        if not entry.packing:
            return entry.encoded
        try:
            return self._unpacked(entry)
        except UnpackError as error:
            self._fail(cache, entry, error.cause)
        counters = cache.counters(entry.address.tenant)
        counters.hits -= 1
        counters.saved_micros -= entry.cost_micros
        counters.misses += 1
        return None

    def all_sent(self, cache: ContentCache, found: Iterable[Entry | None]) -> list[bytes | None]:
        """Return what `cache.get_many` found as `sent` does, each in its place."""
        return [
            None if each is None else self.sent(cache, each) if each.packing else each.encoded
            for each in found
        ]

    def acquire(
        self, cache: ContentCache, address: Address, *, holder: str, epoch: int, ttl_s: float
    ) -> Entry | Lease | Stale:
        """Acquire a key; what is found is as it is sent.

        Raises:
            ServiceError: As `ContentCache.acquire`.
        """
        found = cache.acquire(address, holder=holder, epoch=epoch, ttl_s=ttl_s)
        if isinstance(found, Lease):
            return found
        entry = found.entry if isinstance(found, Stale) else found
        if not entry.packing:
            return found
        before = entry.expire_time <= cache.now
        opened = self.sent(cache, entry)
        if opened is not None:
            plain = replace(entry, encoded=opened, packing="")
            return Stale(plain, found.lease) if isinstance(found, Stale) else plain
        cache.counters(address.tenant).stale_hits -= before
        return cache.lease_to(address, holder=holder, epoch=epoch, ttl_s=ttl_s)

    def decided(self, decided: Sequence[Decided]) -> list[Decided]:
        """Return what waiters are told, with entries as they are sent; one that fails has gone."""
        return [(address, self._plainly(found)) for address, found in decided]

    def peeked(self, entry: Entry) -> bytes | None:
        """Return an entry as it is sent, without a trace; None if it would be a miss."""
        try:
            return entry.encoded if not entry.packing else self._unpacked(entry)
        except UnpackError:
            return None

    def body(self, entry: Entry) -> bytes | None:
        """Return what is kept of a packed entry, without its key and checksum; None if it does not unpack."""
        try:
            return unpack_body(entry.encoded, self._using(entry))
        except UnpackError:
            return None

    def _plainly(self, found: Entry | Lease | None) -> Entry | Lease | None:
        if not isinstance(found, Entry) or not found.packing:
            return found
        try:
            opened = self._unpacked(found)
        except UnpackError as error:
            self._counts.unpack_failures[error.cause] += 1
            return None
        return replace(found, encoded=opened, packing="")

    def _unpacked(self, entry: Entry) -> bytes:
        return unpack(entry.address.key, entry.encoded, self._using(entry))

    def _using(self, entry: Entry) -> ZstdDecompressor:
        name = dictionary_of(entry)
        if name is None:
            return self._plain
        tenant = entry.address.tenant
        used = self._dictionaries.get(tenant, name)
        if used is not None:
            return used.decompressor
        if (tenant, name) in self._dictionaries.lost:
            raise UnpackError("dictionary_lost")
        self._dictionaries.wanted.add((tenant, name))
        raise UnpackError(UNREAD)

    def _fail(self, cache: ContentCache, entry: Entry, cause: str) -> None:
        self._counts.unpack_failures[cause] += 1
        if cause != UNREAD and cache.held(entry.address) is entry:
            cache.delete(entry.address)
