"""What did not fit into memory comes back when asked for, and never in place of something newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from content_cache.durability.read_through import ReadThrough
from content_cache.entry import Address, Entry
from content_cache.holding.rules import Kind, Mode, Selector
from content_cache.repository.schema import SCHEMA, SEGMENTS
from service_common.clock import ManualClock
from service_common.errors import unavailable
from service_common.storage.documents import Document, Key, Update
from service_common.storage.memory import MemoryStore

from tests.unit.cache.replica import Replica, put

MakeEntry = Callable[..., Entry]
_ENTRIES = 20


class SlowStore(MemoryStore):
    """A store whose reads can be counted, refused, or kept waiting."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.reads = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Read, when it is time."""
        self.reads += 1
        await self.gate.wait()
        if self.away:
            raise unavailable("STORE_DOWN", "down")
        return await super().get_many(keys)


@pytest.fixture
def store(clock: ManualClock) -> SlowStore:
    """An empty store."""
    return SlowStore(clock)


@pytest.fixture
async def small(store: SlowStore, clock: ManualClock, make_entry: MakeEntry) -> Replica:
    """A replica with room for the newest five of twenty entries."""
    first = await Replica(store, clock).start()
    for number in range(_ENTRIES):
        clock.advance(1)
        put(first, make_entry(f"k{number:02}", tags=("t",), encoded=f"{number}".encode(), ttl_s=1000))
    await first.writes.flush()
    room = 5 * make_entry("k00", encoded=b"10").size_bytes + 800
    return await Replica(store, clock, max_bytes=room).start()


@pytest.fixture
def stored(small: Replica, store: SlowStore) -> ReadThrough:
    """What brings its entries back."""
    store.reads = 0
    return small.stored


def key(number: int) -> str:
    """Name one of the entries."""
    return f"k{number:02}"


async def test_what_is_asked_for_comes_back(small: Replica, stored: ReadThrough, store: SlowStore) -> None:
    """An entry left in the store is found, whole and within the limit; its segment is read once for many."""
    assert (len(small.cache), len(stored)) == (5, 15)
    await asyncio.gather(*(stored.bring("a", [key(2), key(3), "none"]) for _ in range(10)))
    found = [small.cache.peek(Address("a", key(number))) for number in (2, 3)]
    assert [each and (each.encoded, each.tags) for each in found] == [(b"2", ("t",)), (b"3", ("t",))]
    assert small.cache.size_bytes <= small.cache.max_bytes
    assert store.reads == 1
    assert stored.counts.entries == 2


async def test_what_is_in_memory_asks_nothing(stored: ReadThrough, store: SlowStore) -> None:
    """Hits, unknown keys and other tenants' look-alikes cost no read."""
    await stored.bring("a", [key(19), "k", "k021", "K02", ""])
    await stored.bring("b", [key(2)])
    assert store.reads == 0


@pytest.mark.parametrize("change", ["set", "delete"])
async def test_what_changed_meanwhile_stays(
    small: Replica, stored: ReadThrough, store: SlowStore, make_entry: MakeEntry, change: str
) -> None:
    """A key stored or removed while the store is asked is not overwritten by what was there before."""
    store.gate.clear()
    asking = asyncio.create_task(stored.bring("a", [key(2)]))
    await asyncio.sleep(0)
    newer = make_entry(key(2), encoded=b"newer")
    put(small, newer)
    if change == "delete":
        with small.turn as cache:
            cache.delete(newer.address)
    store.gate.set()
    await asking
    assert small.cache.peek(newer.address) == (newer if change == "set" else None)
    await stored.bring("a", [key(2)])
    assert small.cache.peek(newer.address) == (newer if change == "set" else None)


async def test_what_was_purged_does_not_come_back(
    small: Replica, stored: ReadThrough, store: SlowStore
) -> None:
    """A purge holds for entries that only the store has, counts them, and takes their bytes."""
    assert await small.purging.purge("a", Selector(Kind.TAG, "t"), Mode.DELETE) == _ENTRIES
    await stored.bring("a", [key(2)])
    assert small.cache.peek(Address("a", key(2))) is None
    await small.writes.flush()
    while await small.repository.compact():
        pass
    assert not [key for key in store._rows if key.collection == SEGMENTS]


async def test_a_purge_leaves_other_entries_in_the_store(small: Replica, stored: ReadThrough) -> None:
    """Of what only the store has exactly what a purge selects goes, the other tenants' entries not at all."""
    assert await small.purging.purge("b", Selector(Kind.ALL), Mode.DELETE) == 0
    assert await small.purging.purge("a", Selector(Kind.PREFIX, "k0"), Mode.DELETE) == 10
    await stored.bring("a", [key(2), key(12)])
    found = [small.cache.peek(Address("a", key(number))) is not None for number in (2, 12)]
    assert found == [False, True]


async def test_a_store_that_is_away_makes_misses_and_is_left_alone(
    small: Replica, stored: ReadThrough, store: SlowStore, clock: ManualClock
) -> None:
    """A failed read is a miss and counted; the next ones do not ask for a moment; then entries come again."""
    store.away = True
    for _ in range(10):
        await stored.bring("a", [key(2)])
    assert small.cache.peek(Address("a", key(2))) is None
    assert (store.reads, stored.counts.failures) == (1, 1)
    store.away = False
    clock.advance(2)
    await stored.bring("a", [key(2)])
    assert small.cache.peek(Address("a", key(2))) is not None


async def test_a_slow_store_does_not_hold_up_for_ever(
    small: Replica, stored: ReadThrough, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer in time makes a miss."""
    monkeypatch.setattr("content_cache.durability.read_through.TIMEOUT_S", 0.01)
    store.gate.clear()
    await stored.bring("a", [key(2)])
    assert stored.counts.failures == 1


async def test_a_damaged_record_is_a_miss_and_counted(
    small: Replica, stored: ReadThrough, store: SlowStore
) -> None:
    """What is damaged in the store is not served; it is counted, and its neighbours come."""
    segment = small.repository.directory.segment_of(Address("a", key(2)))
    assert segment
    (document,) = await store.get_many([segment])
    assert document
    held: Any = document.data["records"]
    place = next(index for index, each in enumerate(held) if b"k02" in each)
    broken = held[place][:-1] + bytes([held[place][-1] ^ 1])
    records = [broken if index == place else each for index, each in enumerate(held)]
    await store.commit([Update(segment, {"records": records})])
    await stored.bring("a", [key(2), key(3)])
    assert small.cache.peek(Address("a", key(2))) is None
    assert small.cache.peek(Address("a", key(3))) is not None
    assert stored.counts.damaged == 1
