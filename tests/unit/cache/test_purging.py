"""Purges: complete, durable before they answer, and never undone by what comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from content_cache.durability.purging import SLICE
from content_cache.durability.write_behind import WriteBehind
from content_cache.entry import Address, Entry
from content_cache.holding.rules import Kind, Mode, Selector
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome
from content_cache.repository.purges import PurgeRepository
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable

from tests.unit.cache.replica import Replica, Store, put

MakeEntry = Callable[..., Entry]


@pytest.fixture
def store(clock: ManualClock) -> Store:
    """An empty store."""
    return Store(clock)


async def test_a_large_purge_lets_calls_through(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A purge of many entries is done in bounded slices; what is stored meanwhile is not its business."""
    replica = await Replica(store, clock).start()
    for number in range(5 * SLICE):
        put(replica, make_entry(f"k{number}", tags=("t",)))
    purging = asyncio.create_task(replica.purging.purge("a", Selector(Kind.TAG, "t"), Mode.DELETE))
    sizes = []
    while not purging.done():
        await asyncio.sleep(0)
        sizes.append(len(replica.cache))
    put(replica, make_entry("later", tags=("t",), era=replica.cache.rules.era("a")))
    assert purging.result() == 5 * SLICE
    assert max(before - after for before, after in pairwise(sizes)) <= SLICE
    assert len(replica.cache) == 1


async def test_what_did_not_fit_into_memory_is_purged_too(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A rule reaches entries that only the store has: a later start with more memory has none of them."""
    first = await Replica(store, clock).start()
    for number in range(20):
        put(first, make_entry(f"k{number}", tags=("old" if number % 2 else "new",), ttl_s=1000))
    await first.writes.flush()
    size = 5 * make_entry("k10").size_bytes
    small = await Replica(store, clock, max_bytes=size + 2000).start()
    assert len(small.cache) < 10
    await small.purging.purge("a", Selector(Kind.TAG, "old"), Mode.DELETE)
    large = await Replica(store, clock).start()
    held = [number for number in range(20) if large.cache.peek(Address("a", f"k{number}"))]
    assert held == list(range(0, 20, 2))


async def test_what_is_purged_takes_no_room_at_the_start(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """With little memory a start takes the newest of what is not purged, not of what is stored."""
    first = await Replica(store, clock).start()
    for number in range(10):
        clock.advance(1)
        put(first, make_entry(f"k{number}", tags=("old" if number > 4 else "new",), ttl_s=1000))
    await first.writes.flush()
    await first.purges.add("a", Selector(Kind.TAG, "old"), Mode.DELETE)
    room = 5 * make_entry("k0").size_bytes + 700
    small = await Replica(store, clock, max_bytes=room).start()
    assert [each for each in range(10) if small.cache.peek(Address("a", f"k{each}"))] == list(range(5))


async def test_nothing_is_loaded_while_purges_are_unknown(
    store: Store, clock: ManualClock, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that cannot read the purges holds nothing rather than something purged."""
    first = await Replica(store, clock).start()
    put(first, make_entry("k"))
    await first.writes.flush()
    second = Replica(store, clock)

    async def refuse() -> None:
        clock.advance(1)
        raise unavailable("STORE_DOWN", "down")

    with monkeypatch.context() as patched:
        patched.setattr(second.purges, "changed", refuse)
        await second.start()
    assert len(second.cache) == 0


async def test_other_replicas_follow(store: Store, clock: ManualClock, make_entry: MakeEntry) -> None:
    """What one replica purges leaves the memory of the others, and what they had leased before is refused."""
    one, other = [await Replica(store, clock).start() for _ in range(2)]
    following = asyncio.create_task(other.purging.follow())
    await asyncio.sleep(0.01)
    put(other, make_entry("k", tags=("t",)))
    with other.turn as cache:
        lease = cache.acquire(Address("a", "l"), holder="h", epoch=0, ttl_s=30)
    assert isinstance(lease, Lease)
    assert await one.purging.purge("a", Selector(Kind.TAG, "t"), Mode.DELETE) == 0
    async with asyncio.timeout(10):
        while other.cache.rules.era("a") == 0 or len(other.cache):  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0.01)
    with other.turn as cache:
        filled = cache.fill(make_entry("l", tags=("t",)), lease.token)
    assert filled is FillOutcome.PURGED
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    other.live.close()


async def test_two_replicas_number_their_purges_apart(store: Store, clock: ManualClock) -> None:
    """Purges at the same time get different numbers, and none is lost."""
    replicas = [await Replica(store, clock).start() for _ in range(4)]
    await asyncio.gather(
        *(
            each.purging.purge("a", Selector(Kind.TAG, f"t{n}"), Mode.DELETE)
            for n, each in enumerate(replicas)
        )
    )
    last = await Replica(store, clock).start()
    assert last.cache.rules.era("a") == 4


async def test_a_version_that_is_not_active_any_more_leaves_first(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Marked entries are served on and leave before all others, after a restart too; new ones are not."""
    replica = await Replica(store, clock).start()
    size = make_entry("k0").size_bytes
    for number in range(6):
        put(
            replica,
            make_entry(f"k{number}", tags=("template:faq@1" if number in {3, 4} else "template:faq@2",)),
        )
    faq_1 = Selector(Kind.TAG, "template:faq@1")
    assert await replica.purging.purge("a", faq_1, Mode.LEAVE_FIRST) == 2
    assert await replica.purging.purge("a", faq_1, Mode.LEAVE_FIRST) == 0
    assert replica.cache.get(Address("a", "k4")) is not None
    put(replica, make_entry("k6", tags=("template:faq@1",), era=replica.cache.rules.era("a")))
    await replica.writes.flush()
    again = await Replica(store, clock).start()
    for each in (replica, again):
        each.cache.max_bytes = each.cache.size_bytes
        put(each, make_entry("x1", encoded=b"x" * (size - 100)))
        held = [number for number in range(7) if each.cache.peek(Address("a", f"k{number}"))]
        assert held == [0, 1, 2, 5, 6]


async def test_a_full_queue_costs_removals_and_no_purge(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """While the store takes nothing and the queue is full, purged entries are given up, and stay purged."""
    replica = await Replica(store, clock).start()
    for number in range(50):
        put(replica, make_entry(f"k{number}", tags=("t",)))
    await replica.writes.flush()
    tight = WriteBehind(replica.repository, replica.cache.held, interval_s=0, max_pending=3)
    replica.live._changed = tight.note
    await replica.purging.purge("a", Selector(Kind.TAG, "t"), Mode.DELETE)
    assert (len(tight), tight.counts.dropped) == (3, 47)
    store.away = True
    with pytest.raises(ServiceError):
        await tight.flush()
    store.away = False
    again = await Replica(store, clock).start()
    assert len(again.cache) == 0


async def test_compaction_drops_what_was_purged(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A purged record whose removal was lost goes with its segment, and shadows what it replaced."""
    replica = await Replica(store, clock).start()
    put(replica, make_entry("k", encoded=b"older"))
    await replica.writes.flush()
    for number in range(9):
        put(replica, make_entry(f"n{number}", encoded=b"x" * 500))
    put(replica, make_entry("k", tags=("t",), encoded=b"newer" * 10))
    await replica.writes.flush()
    await replica.purges.add("a", Selector(Kind.TAG, "t"), Mode.DELETE)
    again = await Replica(store, clock).start()
    with again.turn as cache:
        assert all(cache.delete(Address("a", f"n{number}")) for number in range(9))
    await again.writes.flush()
    while await again.repository.compact():
        pass
    held = b"".join(repr(row.document(key).data).encode() for key, row in store._rows.items())
    assert b"newernewer" not in held
    for _ in range(2):
        last = await Replica(store, clock).start()
        assert len(last.cache) == 0
        while await last.repository.compact():
            pass


async def test_who_follows_misses_no_tenant_and_reads_none_twice(store: Store) -> None:
    """Every change is returned once, over many pages, whichever replica made it."""
    writer, reader = PurgeRepository(store), PurgeRepository(store)
    tenants = [f"tenant-{number}" for number in range(250)]
    for tenant in tenants:
        await writer.add(tenant, Selector(Kind.TAG, "t"), Mode.DELETE)
    assert sorted(tenant for tenant, _ in await reader.changed()) == sorted(tenants)
    assert await reader.changed() == []
    expected = await writer.add("tenant-7", Selector(Kind.ALL), Mode.DELETE)
    assert await reader.changed() == [("tenant-7", expected)]


async def test_a_caller_that_leaves_leaves_no_half_purge(
    store: Store, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A purge whose caller is cancelled after the first slice goes on to its end."""
    replica = await Replica(store, clock).start()
    for number in range(20 * SLICE):
        put(replica, make_entry(f"k{number}"))
    calling = asyncio.create_task(replica.purging.purge("a", Selector(Kind.ALL), Mode.DELETE))
    async with asyncio.timeout(10):
        while len(replica.cache) == 20 * SLICE:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert len(replica.cache) > 0
        while len(replica.cache):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
