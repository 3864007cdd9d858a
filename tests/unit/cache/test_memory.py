"""The bytes the cache accounts are the bytes it takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import timedelta

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.eviction.quota import Quota
from service_common.clock import ManualClock

_ENTRIES = 20_000
_LABELS = {
    "none": lambda number: [],
    "shared": lambda number: ["content_type:faq", f"template:faq@{number % 40}"],
    "its own": lambda number: ["content_type:faq", f"job:{number:032x}"],
}


@pytest.mark.parametrize(
    ("labels", "quota"), [("none", False), ("shared", False), ("its own", False), ("none", True)]
)
def test_accounted_bytes_are_real_bytes(clock: ManualClock, labels: str, *, quota: bool) -> None:
    """For 20,000 entries of 1 KiB the accounted size is within 10 % of what the allocator handed out."""
    share = Quota(Lru(), max_bytes=10**9) if quota else None
    cache = ContentCache(max_bytes=10**9, policy=share or Lru(), clock=clock, new_token=str, quota=share)
    tags: Callable[[int], list[str]] = _LABELS[labels]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(_ENTRIES):
        created = clock.now() + timedelta(microseconds=number)
        address = Address("a", f"{number:064x}")
        shared = cache.labels.shared("a", tags(number))
        entry = Entry(address, bytes(1024), 1000 + number, created, created + timedelta(hours=1), tags=shared)
        cache.set(entry)
    cache.take_effects()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 * taken <= cache.size_bytes <= 1.1 * taken, (taken - cache.size_bytes) / _ENTRIES
