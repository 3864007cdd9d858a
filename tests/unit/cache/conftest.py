"""A cache at a time the test decides, and entries for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru, make_policy
from content_cache.learning.accesses import Accesses
from content_cache.sampling import PARTS
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still until told otherwise."""
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> ContentCache:
    """A cache of 10,000 bytes."""
    tokens = count(1)
    return ContentCache(max_bytes=10_000, policy=Lru(), clock=clock, new_token=lambda: f"t{next(tokens)}")


@pytest.fixture
def make_entry(clock: ManualClock) -> MakeEntry:
    """Make entries that are stored now."""

    def make(
        key: str = "k",
        *,
        tenant: str = "a",
        encoded: bytes = b"x",
        cost: int = 0,
        ttl_s: float = 100,
        **facts: Any,
    ) -> Entry:
        now = clock.now()
        return Entry(Address(tenant, key), encoded, cost, now, now + timedelta(seconds=ttl_s), **facts)

    return make


def observed(
    clock: ManualClock, *, max_bytes: int, policy: str = "lru", capacity: int | None = None
) -> tuple[ContentCache, Accesses]:
    """Return a cache and what listens to it, every key followed; it may be told of another capacity."""

    def held(address: Address) -> Entry | None:
        return heard.held(address)

    accesses = Accesses(capacity=lambda: capacity or max_bytes, held=held, modelled_parts=PARTS)
    heard = ContentCache(
        max_bytes=max_bytes, policy=make_policy(policy), clock=clock, new_token=str, listener=accesses
    )
    return heard, accesses
