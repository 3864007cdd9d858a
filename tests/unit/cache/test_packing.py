"""Packing: entries are smaller than they are sent, come back to the byte, and never lose their place."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from content_cache.compression.samples import FIRST_AT
from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import Stale
from content_cache.repository.schema import SCHEMA
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage.documents import Delete, Key
from service_common.storage.memory import MemoryStore

from tests.unit.cache.packed import PackingReplica, sent, text
from tests.unit.cache.replica import put

COUNT = FIRST_AT


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    """What outlives a replica."""
    return MemoryStore(SCHEMA, clock)


def own_bytes(replica: PackingReplica, tenant: str = "a") -> int:
    """Return what the entries of a tenant take by themselves."""
    addresses = replica.cache.labels.of_tenant(tenant)
    held = [replica.cache.held(address) for address in addresses]
    return sum(len(each.encoded) for each in held if each is not None)


async def test_entries_are_kept_smaller_and_leave_as_they_came(
    store: MemoryStore, clock: ManualClock
) -> None:
    """Packed without and with a dictionary, each entry comes back to the byte; less memory is accounted."""
    replica = await PackingReplica(store, clock).start()
    put(replica.replica, replica.entry(0))
    size = replica.cache.size_bytes
    replica.compression.packing.note(Address("a", "k0"))
    await replica.compression.packing.round()
    assert replica.held(0).packing == "zstd"
    assert replica.cache.size_bytes == size - len(sent("k0", text(0))) + len(replica.held(0).encoded)
    name = await replica.trained()
    await replica.fill(range(100, 120))
    assert replica.held(110).packing == f"zstd:{name}"
    for number in (0, 5, *range(100, 120)):
        assert replica.get(number) == sent(f"k{number}", text(number))
    assert replica.counts.trained.bytes_after < 0.5 * replica.counts.trained.bytes_before
    assert replica.counts.trained.entries == 20
    with replica.turn as cache:
        assert cache.counters("a").hits == 22


async def test_accounts_stay_exact(store: MemoryStore, clock: ManualClock) -> None:
    """After packing, training and all entries leaving, what is accounted is the dictionary alone."""
    replica = await PackingReplica(store, clock).start()
    await replica.trained(ttl_s=10)
    await replica.fill(range(100, 150), ttl_s=10)
    reserved = replica.dictionaries.size_bytes
    assert reserved > 0
    assert replica.cache.size_bytes > reserved + own_bytes(replica)
    clock.advance(100)
    with replica.turn as cache:
        while cache.sweep(1000):
            pass
        assert len(cache) == 0
        assert cache.size_bytes == reserved
        assert cache.counters("a").size_bytes == 0


async def test_a_dictionary_takes_room_from_entries(store: MemoryStore, clock: ManualClock) -> None:
    """With a dictionary in memory entries and dictionary together stay within the limit."""
    limit = 14_000_000
    replica = await PackingReplica(store, clock, limit).start()
    await replica.trained()
    assert replica.dictionaries.size_bytes > 200_000
    for number in range(100, 8000):
        put(replica.replica, replica.entry(number, encoded=bytes(2000)))
    assert limit - 10_000 < replica.cache.size_bytes <= limit
    with replica.turn as cache:
        with pytest.raises(ServiceError, match="takes"):
            cache.set(replica.entry(1, encoded=bytes(limit - replica.dictionaries.size_bytes)))
        cache.resize(replica.dictionaries.size_bytes // 2)
        while cache.shrink(100):
            pass
        assert len(cache) == 0


async def test_what_changed_meanwhile_is_not_replaced(store: MemoryStore, clock: ManualClock) -> None:
    """An entry overwritten or removed while it was being packed stays overwritten or removed."""
    replica = await PackingReplica(store, clock).start()
    for number in range(3):
        put(replica.replica, replica.entry(number))
        replica.compression.packing.note(Address("a", f"k{number}"))
    newer = replace(replica.entry(0), encoded=sent("k0", text(9)))
    under_way = asyncio.create_task(replica.compression.packing.round())
    await asyncio.sleep(0)
    put(replica.replica, newer)
    with replica.turn as cache:
        cache.delete(Address("a", "k1"))
    await under_way
    assert replica.cache.held(newer.address) is newer
    assert replica.cache.held(Address("a", "k1")) is None
    assert replica.held(2).packing == "zstd"


async def test_recency_is_untouched(store: MemoryStore, clock: ManualClock) -> None:
    """Packing makes nothing recently used: the same entry leaves first as without it."""
    replica = await PackingReplica(store, clock, 10_000).start()
    for number in range(3):
        put(replica.replica, replica.entry(number))
    assert replica.get(0) is not None
    for number in (1, 0, 2):
        replica.compression.packing.note(Address("a", f"k{number}"))
    await replica.compression.packing.round()
    with replica.turn as cache:
        cache.resize(cache.size_bytes - 1)
        cache.shrink(1)
        assert cache.held(Address("a", "k1")) is None
        assert cache.held(Address("a", "k0")) is not None


async def test_a_damaged_entry_is_a_miss(store: MemoryStore, clock: ManualClock) -> None:
    """It is counted as one, not as a hit; it leaves; whoever acquires the key generates it."""
    replica = await PackingReplica(store, clock).start()
    await replica.fill(range(4))
    for number in range(4):
        replica.damage(number, 40 + number)
    assert replica.get(0) is None
    assert replica.cache.held(Address("a", "k0")) is None
    with replica.turn as cache:
        counters = cache.counters("a")
        assert (counters.hits, counters.misses, counters.saved_micros) == (0, 1, 0)
        found = replica.opening.acquire(cache, Address("a", "k1"), holder="h", epoch=1, ttl_s=10)
        assert isinstance(found, Lease)
        assert found.holder == "h"
        assert (counters.hits, counters.misses) == (0, 2)
    assert replica.opening.decided([(Address("a", "k2"), replica.held(2))]) == [(Address("a", "k2"), None)]
    assert replica.counts.unpack_failures["damaged"] == 3


async def test_acquire_hands_out_what_is_sent(store: MemoryStore, clock: ManualClock) -> None:
    """A hit and a stale hit on packed entries carry the entry as it came; counts are as without packing."""
    replica = await PackingReplica(store, clock).start()
    entry = replica.entry(0, ttl_s=10, stale_s=100.0)
    put(replica.replica, entry)
    replica.compression.packing.note(entry.address)
    await replica.compression.packing.round()
    assert replica.held(0).packing
    with replica.turn as cache:
        found = replica.opening.acquire(cache, entry.address, holder="h", epoch=1, ttl_s=10)
    assert isinstance(found, Entry)
    assert found == entry
    assert replica.opening.peeked(replica.held(0)) == entry.encoded
    told = replica.opening.decided([(entry.address, replica.held(0))])
    assert told == [(entry.address, entry)]
    clock.advance(11)
    with replica.turn as cache:
        stale = replica.opening.acquire(cache, entry.address, holder="h", epoch=1, ttl_s=10)
        assert isinstance(stale, Stale)
        assert stale.entry == entry
        assert stale.lease is not None
        assert cache.counters("a").stale_hits == 1
    replica.damage(0, 50)
    with replica.turn as cache:
        lost = replica.opening.acquire(cache, entry.address, holder="h", epoch=1, ttl_s=10)
        assert isinstance(lost, Lease)
        assert lost.token == stale.lease.token
        counters = cache.counters("a")
        assert (counters.hits, counters.stale_hits, counters.misses) == (2, 1, 1)


async def test_packed_entries_survive_a_restart(store: MemoryStore, clock: ManualClock) -> None:
    """What is stored is the packed form; with its dictionary it comes back to the byte."""
    replica = await PackingReplica(store, clock).start()
    name = await replica.trained()
    await replica.fill(range(100, 130))
    await replica.replica.writes.flush()
    after = await PackingReplica(store, clock).start()
    assert after.held(110).packing == f"zstd:{name}"
    assert after.held(110).encoded == replica.held(110).encoded
    for number in (*range(10), *range(100, 130)):
        assert after.get(number) == sent(f"k{number}", text(number))
    assert after.cache.size_bytes == replica.cache.size_bytes


async def test_a_lost_dictionary_costs_misses(store: MemoryStore, clock: ManualClock) -> None:
    """Entries whose dictionary is gone are misses and counted, and leave; the others are served."""
    replica = await PackingReplica(store, clock).start()
    name = await replica.trained()
    await replica.fill(range(100, 103))
    await replica.replica.writes.flush()
    await store.commit([Delete(Key("dictionaries", "a", name))])
    after = await PackingReplica(store, clock).start()
    assert after.get(100) is None
    # Not looked for yet: it may only have come late, so the entry stays.
    assert after.held(100).packing == f"zstd:{name}"
    await after.compression.training.fetch()
    assert [after.get(number) for number in (100, 101, 102)] == [None] * 3
    assert after.cache.held(Address("a", "k101")) is None
    assert after.get(3) == sent("k3", text(3))
    assert after.counts.unpack_failures == {
        "damaged": 0,
        "too_large": 0,
        "dictionary_lost": 3,
        "dictionary_unread": 1,
    }


async def test_a_dictionary_of_another_replica_is_found(store: MemoryStore, clock: ManualClock) -> None:
    """An entry packed by another replica is a miss once; then its dictionary has been read."""
    first, second = await PackingReplica(store, clock).start(), await PackingReplica(store, clock).start()
    await first.trained()
    await first.fill(range(100, 101))
    put(second.replica, first.held(100))
    assert second.get(100) is None
    await second.compression.training.fetch()
    assert second.get(100) == sent("k100", text(100))


async def test_no_tenant_reads_with_anothers_dictionary(store: MemoryStore, clock: ManualClock) -> None:
    """Each tenant packs with its own; an entry that names another's is a miss, with and without a restart."""
    replica = await PackingReplica(store, clock).start()
    await replica.fill(range(COUNT), "a")
    await replica.fill(range(COUNT), "a_b")
    await replica.compression.training.train("a")
    await replica.fill(range(200, 203), "a")
    await replica.fill(range(200, 203), "a_b")
    used = replica.dictionaries.latest("a")
    assert used is not None
    assert replica.held(200, "a").packing == used.packing
    assert replica.held(200, "a_b").packing == "zstd"
    assert replica.dictionaries.latest("a_b") is None
    await replica.compression.training.train("a_b")
    other = replica.dictionaries.latest("a_b")
    assert other is not None
    assert other.dictionary.tenant == "a_b"
    forged = replace(replica.held(200, "a"), address=Address("b", "k200"))
    for each in (replica, await PackingReplica(store, clock).start()):
        put(each.replica, forged)
        assert each.get(200, "b") is None
        await each.compression.training.fetch()
        assert each.get(200, "b") is None
        assert each.counts.unpack_failures["dictionary_lost"] == 1
