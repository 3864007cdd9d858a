"""Purges against a plain model: complete, durable before they answer, and never undone by what comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from itertools import count, pairwise
from typing import Any, TypeVar

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.leases import Lease, era_of_token
from content_cache.live import LiveCache
from content_cache.loading import Loader
from content_cache.outcomes import FillOutcome
from content_cache.purge_repository import PurgeRepository
from content_cache.purging import SLICE, Purging
from content_cache.repository import SCHEMA, EntryRepository
from content_cache.rules import Kind, Mode, Selector
from content_cache.write_behind import WriteBehind
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable
from service_common.storage.documents import Decision, Document, Key, Write
from service_common.storage.memory import MemoryStore

MakeEntry = Callable[..., Entry]
T = TypeVar("T")
ALL = Selector(Kind.ALL)
_KEYS = [Address(tenant, key) for tenant in ("a", "a_") for key in ("k", "ka", "l")]
_SELECTORS = [
    ALL,
    *(Selector(Kind.TAG, tag) for tag in "xy"),
    *(Selector(Kind.PREFIX, key) for key in ("k", "ka")),
]
_WRITERS = count(1)


def fits(selector: Selector, entry: Entry) -> bool:
    """Say what a selector means."""
    if selector.kind is Kind.TAG:
        return selector.value in entry.tags
    return entry.address.key.startswith(selector.value)


class Store(MemoryStore):
    """A store that is away while told to."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise unavailable("STORE_DOWN", "down")

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit, or refuse."""
        self._check()
        await super().commit(writes)

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Transact, or refuse."""
        self._check()
        return await super().transact(keys, decide)


class Replica:
    """A cache over a store, from its start to its crash."""

    def __init__(self, store: MemoryStore, clock: ManualClock, max_bytes: int = 10**9) -> None:
        tokens = count()
        writer = next(_WRITERS)
        self.cache = ContentCache(
            max_bytes=max_bytes, policy=Lru(), clock=clock, new_token=lambda: f"{writer}-{next(tokens)}"
        )
        self.repository = EntryRepository(store, clock=clock, writer=writer, rules=self.cache.rules)
        self.writes = WriteBehind(self.repository, self.cache.held, interval_s=0, max_pending=1000)
        self.purges = PurgeRepository(store, clock=clock)
        self.loader = Loader(self.repository, self.cache, clock=clock, purges=self.purges)
        self.live = LiveCache(self.cache, clock=clock, changed=self.writes.note)
        self.turn = self.live.operation(lambda _: None)
        self.purging = Purging(self.purges, self.turn)

    async def start(self) -> Replica:
        """Load and open."""
        await self.loader.run(1)
        self.live.open()
        return self


def put(replica: Replica, entry: Entry) -> None:
    """Store one entry in a turn."""
    with replica.turn as cache:
        cache.set(entry)


class PurgeHistory(RuleBasedStateMachine):
    """A replica that crashes, beside what it must hold and what it must never serve again."""

    keys = st.sampled_from(_KEYS)
    labels = st.lists(st.sampled_from("xy"), unique=True).map(tuple)

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.serial = count()
        self.model: dict[Address, Entry] = {}
        self.begun: dict[bytes, int] = {}
        self.tokens: dict[Address, tuple[str, int]] = {}
        self.purged: list[tuple[int, str, Selector]] = []
        self.durable: dict[Address, Entry] | None = {}
        self.loop = asyncio.new_event_loop()
        self.replica = self.run(Replica(self.store, self.clock).start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do one step."""
        return self.loop.run_until_complete(work)

    def turn(self, step: Callable[[ContentCache], T]) -> T:
        """Do one step of a turn."""

        async def inside() -> T:
            with self.replica.turn as cache:
                return step(cache)

        return self.run(inside())

    def teardown(self) -> None:
        """End."""
        self.replica.live.close()
        self.loop.close()

    def entry(self, key: Address, tags: tuple[str, ...], *, era: int, begun: int) -> Entry:
        """Make an entry unlike any other."""
        encoded = str(next(self.serial)).encode()
        self.begun[encoded] = begun
        now = self.clock.now()
        return Entry(key, encoded, 0, now, now + timedelta(days=9), tags=tags, era=era)

    def is_purged(self, entry: Entry) -> bool:
        """Tell whether a purge fits an entry that was begun before it."""
        return any(
            moment > self.begun[entry.encoded] and tenant == entry.address.tenant and fits(selector, entry)
            for moment, tenant, selector in self.purged
        )

    @rule(key=keys, tags=labels)
    def set(self, key: Address, tags: tuple[str, ...]) -> None:
        """What is set begins now."""
        era = self.replica.cache.rules.era(key.tenant)
        entry = self.entry(key, tags, era=era, begun=next(self.serial))
        self.turn(lambda cache: cache.set(entry))
        self.model[key] = entry
        self.durable = None

    @rule(key=keys)
    def acquire(self, key: Address) -> None:
        """A lease is the beginning of what is filled under it, whenever that is."""
        epoch = next(self.serial)
        found = self.turn(lambda cache: cache.acquire(key, holder="h", epoch=epoch, ttl_s=30))
        if isinstance(found, Lease):
            self.tokens[key] = (found.token, next(self.serial))

    @rule(key=keys, tags=labels)
    def fill(self, key: Address, tags: tuple[str, ...]) -> None:
        """A fill that was purged since its lease is refused, also by a replica that knows no lease."""
        if key not in self.tokens:
            return
        token, begun = self.tokens.pop(key)
        entry = self.entry(key, tags, era=era_of_token(token), begun=begun)
        outcome = self.turn(lambda cache: cache.fill(entry, token))
        assert (outcome is FillOutcome.PURGED) is self.is_purged(entry)
        if outcome in {FillOutcome.FILLED, FillOutcome.STORED_WITHOUT_LEASE}:
            self.model[key] = entry
            self.durable = None

    @rule(tenant=st.sampled_from(["a", "a_"]), selector=st.sampled_from(_SELECTORS), away=st.booleans())
    def purge(self, tenant: str, selector: Selector, *, away: bool) -> None:
        """A purge counts what goes; one that the store did not take changes nothing."""
        self.store.away = away
        gone = [key for key, each in self.model.items() if key.tenant == tenant and fits(selector, each)]
        try:
            removed = self.run(self.replica.purging.purge(tenant, selector, Mode.DELETE))
        except ServiceError as error:
            assert (away, error.reason) == (True, "STORE_DOWN")  # noqa: PT017 - only while it is away
            return
        finally:
            self.store.away = False
        assert removed == len(gone)
        self.purged.append((next(self.serial), tenant, selector))
        for key in gone:
            del self.model[key]
        if self.durable is not None:
            self.durable = dict(self.model)

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        """Leases end."""
        self.clock.advance(seconds)

    @rule()
    def flush(self) -> None:
        """What memory holds is stored."""
        self.run(self.replica.writes.flush())
        self.durable = dict(self.model)

    @rule()
    def compact(self) -> None:
        """What nobody needs goes."""
        self.run(self.replica.repository.compact())

    @rule()
    def crash(self) -> None:
        """What comes back was there once and was not purged; if all was stored, exactly that comes back."""
        self.replica.live.close()
        self.replica = self.run(Replica(self.store, self.clock).start())
        held = {key: entry for key in _KEYS if (entry := self.replica.cache.peek(key))}
        assert not [entry for entry in held.values() if self.is_purged(entry)]
        if self.durable is not None:
            assert held == self.durable
        self.model = held
        self.durable = None if self.durable is None else dict(held)

    @invariant()
    def agrees(self) -> None:
        """Memory is the model."""
        held = {key: entry for key in _KEYS if (entry := self.replica.cache.peek(key))}
        assert held == self.model
        assert self.replica.cache.size_bytes >= sum(each.size_bytes for each in held.values())


TestPurgeHistory = PurgeHistory.TestCase
TestPurgeHistory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


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
