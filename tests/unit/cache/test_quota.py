"""A tenant's quota: never exceeded, paid with its own entries, counted apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from content_cache.cache import ContentCache
from content_cache.durability.loading import Loader
from content_cache.durability.write_behind import WriteBehind
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.eviction.quota import Quota
from content_cache.repository.entries import EntryRepository
from content_cache.repository.schema import SCHEMA
from hypothesis import given
from hypothesis import strategies as st
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage.memory import MemoryStore

from tests.unit.cache.replica import Replica, put

MakeEntry = Callable[..., Entry]
_LIMIT = 4_000


def limited(clock: ManualClock, *, max_bytes: int = 100_000) -> ContentCache:
    """Make a cache in which a tenant may take so much."""
    quota = Quota(Lru(), max_bytes=_LIMIT)
    return ContentCache(max_bytes=max_bytes, policy=quota, clock=clock, new_token=lambda: "t", quota=quota)


def test_a_tenant_pays_with_its_own(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Beyond its quota a tenant's least recently used entry leaves, nobody else's; the cause is counted."""
    cache = limited(clock)
    cache.set(make_entry("old", tenant="b"))
    for number in range(10):
        cache.set(make_entry(f"k{number}"))
        cache.get(Address("a", "k0"))
    assert cache.peek(Address("b", "old")) is not None
    assert cache.peek(Address("a", "k0")) is not None
    assert cache.peek(Address("a", "k1")) is None
    counters = cache.counters("a")
    assert counters.size_bytes <= _LIMIT
    assert counters.quota_evictions == 10 - counters.entries > 0
    assert counters.evictions == cache.counters("b").quota_evictions == 0


def test_what_exceeds_the_quota_alone_is_refused(clock: ManualClock, make_entry: MakeEntry) -> None:
    """An entry larger than the quota changes nothing and says which limit it breaks."""
    cache = limited(clock)
    cache.set(make_entry("k"))
    with pytest.raises(ServiceError, match=f"limit is {_LIMIT}") as refused:
        cache.set(make_entry("big", encoded=b"x" * _LIMIT))
    assert refused.value.reason == "ENTRY_TOO_LARGE"
    assert cache.peek(Address("a", "k")) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(0, 9),
            st.integers(0, 1500),
            st.lists(st.sampled_from("xyz"), max_size=2),
        ),
        max_size=60,
    )
)
def test_both_limits_hold_whatever_is_stored(changes: list[tuple[str, int, int, list[str]]]) -> None:
    """No sequence of entries, labelled or not, exceeds a quota or the limit; the sums are right."""
    cache = limited(ManualClock(), max_bytes=6_000)
    for tenant, key, size, tags in changes:
        now = cache.now
        address = Address(tenant, f"k{key}")
        labels = cache.labels.shared(tenant, tags)
        entry = Entry(address, bytes(size), 0, now, now.replace(year=now.year + 1), tags=labels)
        try:
            cache.set(entry)
        except ServiceError as error:
            assert error.reason == "ENTRY_TOO_LARGE"  # noqa: PT017 - some are too large
        assert cache.size_bytes <= cache.max_bytes
        assert all(each.size_bytes <= _LIMIT for each in cache.all_counters())
        assert cache.size_bytes == sum(each.size_bytes for each in cache.all_counters())


async def test_a_smaller_quota_keeps_the_newest(clock: ManualClock, make_entry: MakeEntry) -> None:
    """A tenant above its new quota loses its oldest entries, another one nothing; also in the store."""
    store = MemoryStore(SCHEMA, clock)
    before = await Replica(store, clock).start()
    for number in range(10):
        clock.advance(1)
        put(before, make_entry(f"k{number}", ttl_s=1000))
    put(before, make_entry("old", tenant="b", ttl_s=1000))
    await before.writes.flush()
    for _ in range(2):
        cache = limited(clock)
        repository = EntryRepository(store, clock=clock, writer=clock.now().microsecond + 99)
        await Loader(repository, cache, clock=clock).run(1)
        held = [number for number in range(10) if cache.peek(Address("a", f"k{number}"))]
        assert held == [5, 6, 7, 8, 9]
        assert cache.peek(Address("b", "old")) is not None
        writes = WriteBehind(repository, cache.held, interval_s=0, max_pending=100)
        for address, entry in cache.take_effects().changed:
            writes.note(address, entry)
        await writes.flush()
        clock.advance(0.001)
    assert len((await Replica(store, clock).start()).cache) == 6
