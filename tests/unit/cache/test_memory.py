"""The bytes the cache accounts are the bytes it takes."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from service_common.clock import ManualClock


def test_accounted_bytes_are_real_bytes(clock: ManualClock) -> None:
    """For 20,000 entries of 1 KiB the accounted size is within 10 % of what the allocator handed out."""
    cache = ContentCache(max_bytes=10**9, policy=Lru(), clock=clock, new_token=str)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        created = clock.now() + timedelta(microseconds=number)
        address = Address("a", f"{number:064x}")
        cache.set(Entry(address, bytes(1024), 1000 + number, created, created + timedelta(hours=1)))
    cache.take_effects()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 * taken <= cache.size_bytes <= 1.1 * taken, (taken - cache.size_bytes) / 20_000
