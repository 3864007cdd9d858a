"""The durable tier: what is written comes back intact or not at all; a store that is away costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from content_cache.cache import ContentCache
from content_cache.durability.loading import Loader
from content_cache.durability.write_behind import WriteBehind
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.repository.entries import Change, EntryRepository
from content_cache.repository.schema import PARTS, SCHEMA
from content_cache.repository.segment_documents import PART_BYTES
from service_common.clock import ManualClock
from service_common.errors import ServiceError, invalid_field, unavailable
from service_common.storage.documents import Delete, Key, Set, Update, Write
from service_common.storage.memory import MemoryStore
from service_common.storage.store import DocumentStore

MakeEntry = Callable[..., Entry]


_WRITERS = count(1)


def repository(store: DocumentStore, clock: ManualClock) -> EntryRepository:
    """Make the durable tier of one start of one replica."""
    return EntryRepository(store, clock=clock, writer=next(_WRITERS))


def _bytes(write: Set) -> bytes:
    records: Any = write.data.get("records", [])
    return b"".join(records)


class FaultyStore(MemoryStore):
    """A store that refuses commits while told to."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.failures = 0
        self.poison = b""
        self.commits: list[Sequence[Write]] = []

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit, or fail as told."""
        if self.failures:
            self.failures -= 1
            raise unavailable("STORE_DOWN", "down")
        if self.poison and any(isinstance(each, Set) and self.poison in _bytes(each) for each in writes):
            raise invalid_field("data", "poison")
        self.commits.append(writes)
        await super().commit(writes)


@pytest.fixture
def store(clock: ManualClock) -> FaultyStore:
    """An empty store."""
    return FaultyStore(clock)


@pytest.fixture
def writes(store: FaultyStore, cache: ContentCache, clock: ManualClock) -> WriteBehind:
    """The queue between the cache and the store."""
    return WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=1000)


def new_cache(clock: ManualClock, max_bytes: int = 10_000_000) -> ContentCache:
    """Make a cache as after a restart."""
    tokens = count()
    return ContentCache(max_bytes=max_bytes, policy=Lru(), clock=clock, new_token=lambda: str(next(tokens)))


async def reload(
    store: FaultyStore, clock: ManualClock, max_bytes: int = 10_000_000
) -> tuple[ContentCache, int]:
    """Load what the store has; returns the cache and how many were damaged."""
    cache = new_cache(clock, max_bytes)
    loader = Loader(repository(store, clock), cache, clock=clock)
    await loader.run(60)
    return cache, loader.counts.damaged


def follow(cache: ContentCache, writes: WriteBehind) -> None:
    """Hand the turn's changes on, as a live cache does."""
    for address, before in cache.take_effects().changed:
        writes.note(address, before)


async def test_entries_of_every_size_come_back(
    store: FaultyStore, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Entries are equal after a restart, also those of two documents; compaction takes both."""
    cache = new_cache(clock)
    durable = repository(store, clock)
    writes = WriteBehind(durable, cache.held, interval_s=0, max_pending=1000)
    sizes = [0, 1, PART_BYTES, PART_BYTES + 1, 1_100_000]
    stored = [make_entry(f"k\0é{size}", encoded=b"\x01" * size) for size in sizes]
    for entry in stored:
        cache.set(entry)
    follow(cache, writes)
    await writes.flush()
    loaded, damaged = await reload(store, clock)
    assert [loaded.held(each.address) for each in stored] == stored
    assert damaged == 0
    cache.set(make_entry(stored[-1].address.key, encoded=b"small"))
    for each in stored[-3:-1]:
        cache.delete(each.address)
    follow(cache, writes)
    await writes.flush()
    await durable.compact()
    assert not [key for key in store._rows if key.collection == PARTS]


async def test_what_left_memory_leaves_the_store(
    store: FaultyStore, cache: ContentCache, writes: WriteBehind, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Deletes and evictions are as durable as what they remove."""
    for number in range(100):
        cache.set(make_entry(f"k{number}"))
    cache.delete(Address("a", "k99"))
    follow(cache, writes)
    await writes.flush()
    loaded, _ = await reload(store, clock)
    assert len(loaded) == len(cache) < 100
    assert loaded.held(Address("a", "k99")) is None


async def test_a_store_that_is_away_delays_and_loses_nothing(
    store: FaultyStore, cache: ContentCache, writes: WriteBehind, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Failed batches wait and are counted; what is written later is memory as it is then."""
    cache.set(make_entry(encoded=b"old"))
    follow(cache, writes)
    store.failures = 1
    with pytest.raises(ServiceError):
        await writes.flush()
    assert (len(writes), writes.counts.failed_commits, writes.counts.written) == (1, 1, 0)
    cache.set(make_entry(encoded=b"new"))
    follow(cache, writes)
    await writes.flush()
    loaded, _ = await reload(store, clock)
    assert loaded.held(Address("a", "k")) == cache.held(Address("a", "k"))
    assert (len(writes), writes.counts.written) == (0, 1)


async def test_one_refused_change_does_not_hold_up_the_others(
    store: FaultyStore, cache: ContentCache, writes: WriteBehind, make_entry: MakeEntry
) -> None:
    """A change the store can never take is dropped and counted; the rest of its batch is stored."""
    store.poison = b"k3"
    for number in range(8):
        cache.set(make_entry(f"k{number}"))
    follow(cache, writes)
    await writes.flush()
    assert (writes.counts.written, writes.counts.dropped, len(writes)) == (7, 1, 0)


async def test_queue_is_bounded(store: FaultyStore, cache: ContentCache, clock: ManualClock) -> None:
    """Beyond its limit the queue gives up the oldest change and counts it."""
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=3)
    for number in range(5):
        writes.note(Address("a", f"k{number}"), None)
    assert (len(writes), writes.counts.dropped) == (3, 2)


async def test_batches_fit_one_commit(store: FaultyStore, clock: ManualClock, make_entry: MakeEntry) -> None:
    """Many and large changes are split into commits the store takes, each key once."""
    cache = new_cache(clock, 100_000_000)
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=1000)
    for number in range(600):
        cache.set(make_entry(f"k{number}", encoded=b"x" * (1_000_000 if number < 20 else 10)))
    follow(cache, writes)
    await writes.flush()
    assert writes.counts.written == 600
    assert writes.counts.failed_commits == 0
    assert len(store.commits) >= 3


@pytest.mark.parametrize("place", [0, 16, 24, 32, 40, 60, -1])
async def test_damage_is_a_miss(  # noqa: PLR0917 - pytest passes fixtures by name
    store: FaultyStore,
    cache: ContentCache,
    writes: WriteBehind,
    clock: ManualClock,
    make_entry: MakeEntry,
    place: int,
) -> None:
    """Whichever byte of a record is damaged, it is counted and not served; its segment's others are."""
    cache.set(make_entry(encoded=b"x" * 100))
    cache.set(make_entry("healthy"))
    follow(cache, writes)
    await writes.flush()
    (key,) = store._rows
    held: Any = store._rows[key].document(key).data["records"]
    broken = bytearray(held[0])
    broken[place] ^= 1
    await MemoryStore.commit(store, [Update(key, {"records": [bytes(broken), *held[1:]]})])
    loaded, damaged = await reload(store, clock)
    assert (len(loaded), damaged) == (1, 1)
    assert loaded.held(Address("a", "healthy")) is not None


@pytest.mark.parametrize("records", [None, 5, [5], [b""], ["text"]])
async def test_a_damaged_segment_is_left_out(
    store: FaultyStore, clock: ManualClock, make_entry: MakeEntry, records: Any
) -> None:
    """A segment that is no list of records takes nothing else along."""
    durable = repository(store, clock)
    for number in range(2):
        await durable.write([Change(Address("a", f"k{number}"), make_entry(f"k{number}"))])
    key = next(iter(store._rows))
    await MemoryStore.commit(store, [Update(key, {"records": records})])
    loaded, damaged = await reload(store, clock)
    assert (len(loaded), damaged) == (1, 1)


async def test_a_missing_second_part_is_a_miss(
    store: FaultyStore, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Half an entry is no entry."""
    cache = new_cache(clock)
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=10)
    cache.set(make_entry(encoded=b"x" * 1_000_000))
    follow(cache, writes)
    await writes.flush()
    part = next(key for key in store._rows if key.collection == PARTS)
    await MemoryStore.commit(store, [Delete(Key(PARTS, part.tenant, part.id))])
    loaded, damaged = await reload(store, clock)
    assert (len(loaded), damaged) == (0, 1)


async def test_load_keeps_the_most_recent_and_their_order(
    store: FaultyStore, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """With too little memory the newest entries are loaded, and the oldest of them leaves first."""
    cache = new_cache(clock)
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=1000)
    for number in range(500):
        cache.set(make_entry(f"k{number:03}", ttl_s=10_000))
        clock.advance(1)
        cache.begin_turn()
    follow(cache, writes)
    await writes.flush()
    size = make_entry("k000").size_bytes
    loaded, _ = await reload(store, clock, max_bytes=10 * size + 5)
    assert [bool(loaded.held(Address("a", f"k{number}"))) for number in (489, 490, 499)] == [
        False,
        True,
        True,
    ]
    loaded.set(make_entry("new1"))
    assert loaded.held(Address("a", "k490")) is None
    assert len(loaded) == 10


async def test_expired_entries_do_not_come_back(
    store: FaultyStore, cache: ContentCache, writes: WriteBehind, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Time goes on while the cache is down."""
    cache.set(make_entry(ttl_s=10))
    follow(cache, writes)
    await writes.flush()
    clock.advance(timedelta(seconds=10).total_seconds())
    loaded, damaged = await reload(store, clock)
    assert (len(loaded), damaged) == (0, 0)


async def test_a_slow_store_holds_up_nobody(
    store: FaultyStore, cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """While a commit hangs, entries are stored and served; the queue is bounded, what it kept follows."""
    gate = asyncio.Event()
    commit = store.commit

    async def slow(writes: Sequence[Write]) -> None:
        await gate.wait()
        await commit(writes)

    store.commit = slow  # type: ignore[method-assign]  # the same store, slow for a while
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=5)
    writing = asyncio.create_task(writes.run())
    for number in range(12):
        cache.set(make_entry(f"k{number}"))
        follow(cache, writes)
        await asyncio.sleep(0.001)
        assert cache.get(Address("a", f"k{number}")) is not None
        assert len(writes) <= 5 + 1  # that wait, and that is on its way
    assert writes.counts.dropped == 12 - 5 - 1
    gate.set()
    async with asyncio.timeout(10):
        while writes.counts.written < 12 - writes.counts.dropped:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0.001)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    loaded, _ = await reload(store, clock)
    assert len(loaded) == 12 - writes.counts.dropped


async def test_the_queue_is_bounded_after_a_failed_batch_too(
    store: FaultyStore, cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """What a failed batch gives back and what came meanwhile are within the limit; the rest is counted."""
    writes = WriteBehind(repository(store, clock), cache.held, interval_s=0, max_pending=3)
    commit = store.commit

    async def refuse(_: Sequence[Write]) -> None:
        for number in range(3, 6):
            cache.set(make_entry(f"k{number}"))
        follow(cache, writes)
        raise unavailable("STORE_DOWN", "down")

    for number in range(3):
        cache.set(make_entry(f"k{number}"))
    follow(cache, writes)
    store.commit = refuse  # type: ignore[assignment,method-assign]  # the same store, away for one batch
    with pytest.raises(ServiceError):
        await writes.flush()
    assert (len(writes), writes.counts.dropped) == (3, 3)
    store.commit = commit  # type: ignore[method-assign]  # back again
    await writes.flush()
    loaded, _ = await reload(store, clock)
    assert [bool(loaded.held(Address("a", f"k{number}"))) for number in range(6)] == [False] * 3 + [True] * 3
