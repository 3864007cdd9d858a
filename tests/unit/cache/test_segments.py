"""The log of segments against a dictionary, and what it costs: few documents, no removal ever undone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from content_cache.repository.record import NEVER
from content_cache.repository.schema import SCHEMA
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable
from service_common.storage.documents import Document, Key, Write
from service_common.storage.memory import MemoryStore
from service_common.storage.shapes import Page, Query

_KEYS = [Address(tenant, key) for tenant in ("a", "b") for key in ("k", "l", "m")]


class CountingStore(MemoryStore):
    """Counts document writes and reads as Firestore does; loses answers while told to."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.writes = 0
        self.reads = 0
        self.lost_answers = 0

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit and count; the answer may be lost after it happened."""
        self.writes += len(writes)
        await super().commit(writes)
        if self.lost_answers:
            self.lost_answers -= 1
            raise unavailable("COMMIT_UNKNOWN", "the answer was lost")

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Read and count."""
        self.reads += len(keys)
        return await super().get_many(keys)

    async def query(self, query: Query) -> Page:
        """Ask and count; an empty answer costs one read."""
        page = await super().query(query)
        self.reads += max(1, len(page.documents))
        return page


def new_cache(clock: ManualClock) -> ContentCache:
    """Make an empty cache with room for everything."""
    return ContentCache(max_bytes=100_000_000, policy=Lru(), clock=clock, new_token=lambda: "t")


class Replica:
    """One start of one replica: what it has loaded."""

    def __init__(self, store: MemoryStore, clock: ManualClock, writer: int) -> None:
        self.repository = EntryRepository(store, clock=clock, writer=writer)
        self.cache = new_cache(clock)
        self.loader = Loader(self.repository, self.cache, clock=clock)

    async def load(self) -> dict[Address, Entry]:
        """Load everything; returns what came."""
        await self.loader.run(60)
        assert self.loader.counts.damaged == 0
        held = ((address, self.cache.peek(address)) for address in _KEYS)
        return {address: entry for address, entry in held if entry is not None}


class SegmentHistory(RuleBasedStateMachine):
    """Replicas on one store beside the newest change of each key.

    With two, an entry may cover one with a longer life that its writer cannot know of, and the older one may
    be found when the newer has expired: a replica serves it all the while. What was removed is never found.
    """

    replicas = 1

    keys = st.sampled_from(_KEYS)
    which = st.integers(0, 1)
    sizes = st.sampled_from([0, 10, 300, 300_000])

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = CountingStore(self.clock)
        self.writers = count(1)
        self.serial = count()
        self.running = [self.start() for _ in range(self.replicas)]
        self.model: dict[Address, Entry | None] = {}

    def start(self) -> Replica:
        """Start a replica as after kill -9 and load."""
        replica = Replica(self.store, self.clock, next(self.writers))
        asyncio.run(replica.load())
        return replica

    def replica(self, which: int) -> EntryRepository:
        """Return one of them."""
        return self.running[which % self.replicas].repository

    def expected(self) -> dict[Address, Entry]:
        """Return what the model still serves."""
        now = self.clock.now()
        return {key: entry for key, entry in self.model.items() if entry and not entry.is_expired(now)}

    def write(self, which: int, changes: dict[Address, Entry | None], *, answered: bool = True) -> None:
        """Write a batch; one whose answer is lost is repeated, as it would be."""
        self.clock.advance(0.001)
        batch = [Change(address, entry) for address, entry in changes.items()]
        self.store.lost_answers = int(not answered)
        try:
            asyncio.run(self.replica(which).write(batch))
        except ServiceError:
            asyncio.run(self.replica(which).write(batch))
        self.store.lost_answers = 0
        self.model.update(changes)

    @rule(which=which, keys=st.sets(keys, min_size=1), size=sizes, ttl_s=st.integers(1, 60), ok=st.booleans())
    def fill(self, which: int, keys: set[Address], size: int, ttl_s: int, ok: bool) -> None:  # noqa: FBT001 - hypothesis passes it
        """Entries are stored."""
        now = self.clock.now()
        value = str(next(self.serial)).encode().ljust(size, b".")
        expires = now + timedelta(seconds=ttl_s)
        self.write(which, {each: Entry(each, value, 1, now, expires) for each in sorted(keys)}, answered=ok)

    @rule(which=which, keys=st.sets(keys, min_size=1), ok=st.booleans())
    def delete(self, which: int, keys: set[Address], ok: bool) -> None:  # noqa: FBT001 - hypothesis passes it
        """Entries that are served are removed; by whom does not matter."""
        served = self.expected()
        changes: dict[Address, Entry | None] = {each: None for each in sorted(keys) if each in served}
        if changes:
            self.write(which, changes, answered=ok)

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Time passes and the store forgets what has expired."""
        self.clock.advance(seconds)
        asyncio.run(self.store.sweep_expired())

    @rule(which=which)
    def expire(self, which: int) -> None:
        """What has expired leaves memory; that changes nothing."""
        served = self.expected()
        gone = [key for key in self.model if key not in served]
        self.clock.advance(0.001)
        asyncio.run(self.replica(which).write([Change(each, None, removed=False) for each in gone]))

    @rule(which=which)
    def compact(self, which: int) -> None:
        """Everything wasteful is rewritten; that ends."""
        for _ in range(100):
            if not asyncio.run(self.replica(which).compact()):
                return
        raise AssertionError("compaction does not end")

    @rule(which=which)
    def restart(self, which: int) -> None:
        """A replica is killed and started again."""
        self.running[which % self.replicas] = self.start()

    @rule()
    def compare(self) -> None:
        """What a new replica would load is what the model has."""
        found = asyncio.run(Replica(self.store, self.clock, next(self.writers)).load())
        expected = self.expected()
        if self.replicas > 1:
            found = {key: entry for key, entry in found.items() if key in expected or self.is_removed(key)}
        assert found == expected

    def is_removed(self, key: Address) -> bool:
        """Tell whether the newest change of a key was its removal."""
        return key in self.model and self.model[key] is None

    @precondition(lambda self: self.replicas == 1)
    @rule()
    def space(self) -> None:
        """When everything has expired or gone, compaction leaves no document."""
        self.clock.advance(100)
        self.compact(0)
        asyncio.run(self.store.sweep_expired())
        self.compact(0)
        assert not self.store._rows

    def teardown(self) -> None:
        """It holds at the end, after compactions by all, too."""
        self.compare()
        for which in range(self.replicas):
            self.compact(which)
        self.compare()


class TwoReplicas(SegmentHistory):
    """The same with two replicas."""

    replicas = 2


_BOUNDED = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOneReplica = SegmentHistory.TestCase
TestOneReplica.settings = _BOUNDED
TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = _BOUNDED


def filled(clock: ManualClock, number: int, size: int) -> Entry:
    """Make a fresh entry."""
    now = clock.now()
    return Entry(Address("a", f"key{number:064}"), b"v" * size, 1, now, now + timedelta(days=7))


async def costs(size: int) -> CountingStore:
    """Fill 1,000 entries in batches of up to 64 over three seconds, written each second, then upkeep."""
    clock = ManualClock()
    store = CountingStore(clock)
    replica = Replica(store, clock, 1)
    await replica.load()
    cache = replica.cache
    writes = WriteBehind(replica.repository, cache.held, interval_s=1, max_pending=10_000)
    for second in range(3):
        for number in range(second * 334, min(1000, (second + 1) * 334)):
            if number % 64 == 0:
                clock.advance(0.1)
                cache.begin_turn()
            cache.set(filled(clock, number, size))
        for address, before in cache.take_effects().changed:
            writes.note(address, before)
        await writes.flush()
    while await replica.repository.compact():
        pass
    return store


@pytest.mark.parametrize("size", [1024, 2048, 4096])
async def test_a_thousand_entries_cost_few_documents(size: int) -> None:
    """1,000 fresh entries cost at most 30 document writes and 20 reads, and all come back."""
    store = await costs(size)
    print(f"{size} bytes: {store.writes} writes, {store.reads} reads")  # noqa: T201 - the figure
    assert store.writes <= 30
    assert store.reads <= 20
    cache = new_cache(store._clock)  # type: ignore[arg-type] # it was given a manual one
    await Loader(EntryRepository(store, clock=store._clock, writer=2), cache, clock=store._clock).run(60)
    assert len(cache) == 1000


async def test_a_trickle_gathers() -> None:
    """What comes while a batch is written waits for the next; no change leaves alone behind another."""
    clock = ManualClock()
    store = CountingStore(clock)
    cache = new_cache(clock)
    repository = EntryRepository(store, clock=clock, writer=1)
    writes = WriteBehind(repository, cache.held, interval_s=0, max_pending=1000)
    commits: list[int] = []

    async def slow(changes: Sequence[Change]) -> None:
        commits.append(len(changes))
        if len(commits) < 5:
            writes.note(Address("a", f"later{len(commits)}"), None)
        await asyncio.sleep(0)

    repository.write = slow  # type: ignore[method-assign]
    for number in range(10):
        writes.note(Address("a", f"k{number}"), None)
    await writes._flush(len(writes))
    assert commits == [10]
    assert len(writes) == 1


async def test_a_batch_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch the store did not take is not encoded again when it is repeated; a changed entry is."""
    clock = ManualClock()
    store = CountingStore(clock)
    repository = EntryRepository(store, clock=clock, writer=1)
    encoded: list[Any] = []

    def counting(address: Address, _entry: Entry | None) -> bytes:
        encoded.append(address)
        return b"x"

    monkeypatch.setattr("content_cache.repository.entries.encode", counting)
    changes = [Change(entry.address, entry) for entry in (filled(clock, n, 10) for n in range(5))]
    store.lost_answers = 2
    for _ in range(2):
        with pytest.raises(ServiceError):
            await repository.write(changes)
    assert len(encoded) == 5
    await repository.write([*changes[1:], Change(changes[0].address, filled(clock, 0, 11))])
    assert len(encoded) == 6


async def test_an_incomplete_load_brings_nothing_stale() -> None:
    """Out of time, records whose newer ones may not have been read are left out; the others are served."""
    clock = ManualClock()
    store = CountingStore(clock)
    repository = EntryRepository(store, clock=clock, writer=1)
    repository.read_all(0)
    old, kept = filled(clock, 1, 300_000), filled(clock, 2, 900_000)
    await repository.write([Change(each.address, each) for each in (old, kept)])
    filler = [filled(clock, number, 10) for number in range(3, 40)]
    clock.advance(1)
    await repository.write([Change(old.address, None)])
    for each in filler:
        clock.advance(1)
        await repository.write([Change(each.address, each)])
    # As another replica that has not read the removal would: the old record moves to a new segment.
    rewriter = EntryRepository(store, clock=clock, writer=2)
    framed = rewriter._framed(Change(old.address, old), rewriter.directory.next_stamp(1))
    clock.advance(1)
    await rewriter._commit([framed], rewriter.directory.next_stamp(int(clock.now().timestamp() * 1e6)), ())
    cache = new_cache(clock)
    loader = Loader(EntryRepository(store, clock=_Impatient(clock), writer=3), cache, clock=_Impatient(clock))
    await loader.run(1.5)
    assert cache.held(filler[-1].address) == filler[-1]
    assert cache.held(old.address) is None


class _Impatient:
    """A clock whose monotonic seconds pass with every reading."""

    def __init__(self, clock: ManualClock) -> None:
        self.now = clock.now
        self._seconds = count()

    def monotonic(self) -> float:
        """Return a second more than the last time."""
        return float(next(self._seconds))


async def test_expiry_is_not_written() -> None:
    """An entry that expires costs no write; one that is removed does, also when an older one expired."""
    clock = ManualClock()
    store = CountingStore(clock)
    cache = new_cache(clock)
    repository = EntryRepository(store, clock=clock, writer=1)
    writes = WriteBehind(repository, cache.held, interval_s=0, max_pending=10)

    async def follow() -> int:
        for address, before in cache.take_effects().changed:
            writes.note(address, before)
        earlier = store.writes
        await writes.flush()
        return store.writes - earlier

    entry = filled(clock, 1, 10)
    cache.set(entry)
    assert await follow() == 1
    clock.advance(timedelta(days=8).total_seconds())
    cache.begin_turn()
    assert cache.sweep(10) == 1
    assert await follow() == 0
    cache.set(filled(clock, 1, 10))
    cache.delete(entry.address)
    assert await follow() == 1


async def test_ttl_is_the_latest_life() -> None:
    """A segment's TTL field is its longest entry's expiry; with a removal in it there is none."""
    clock = ManualClock()
    store = CountingStore(clock)
    repository = EntryRepository(store, clock=clock, writer=1)
    repository.read_all(0)
    long, short = filled(clock, 1, 10), filled(clock, 2, 10)
    await repository.write([Change(long.address, long), Change(short.address, short)])
    (key,) = store._rows
    assert store._rows[key].document(key).data["expire_time"] == long.expire_time
    await repository.write([Change(short.address, None)])
    (removal,) = set(store._rows) - {key}
    assert "expire_time" not in store._rows[removal].document(removal).data
    assert repository.directory.covers(short.address, 5) == NEVER
