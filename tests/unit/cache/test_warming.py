"""Warming fills what is free, the most promising first, within its budgets; a start loads the hottest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest
from content_cache.cache import ContentCache
from content_cache.durability.loading import Loader
from content_cache.durability.warming import (
    Kept,
    Plan,
    State,
    Strategy,
    Warming,
    Warmings,
    ordered,
    store_if_free,
)
from content_cache.entry import Address
from content_cache.eviction import Lru
from content_cache.learning.heat import Heat
from content_cache.repository.heat import HEAT, HeatRepository
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable
from service_common.storage.documents import Document, Key

from tests.unit.cache.conftest import MakeEntry
from tests.unit.cache.replica import Replica, Store, put

VALUABLE = Plan(Strategy.MOST_VALUABLE)


class ReadableStore(Store):
    """A store whose reads fail while it is told to be away, and can be made to wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()
        self.gate.set()

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Read, or refuse."""
        await self.gate.wait()
        if self.away:
            raise unavailable("STORE_DOWN", "down")
        return await super().get_many(keys)


def heat_of(*addresses: Address) -> Heat:
    """Return heat that saw some lookups."""
    heat = Heat()
    heat.followed(addresses)
    return heat


async def after_a_start_without_room(
    clock: ManualClock, make_entry: MakeEntry, store: Store, *, entries: int = 40
) -> Replica:
    """Return a cache that had room for one of many stored entries, and has room for all now."""
    first = await Replica(store, clock).start()
    for number in range(entries):
        tag = "even" if number % 2 == 0 else "odd"
        put(first, make_entry(f"k{number}", encoded=b"x" * 100, cost=number, tags=(tag,)))
        await first.writes.flush()
        clock.advance(0.001)
    second = Replica(store, clock, max_bytes=1_500)
    await second.start()
    with second.turn as cache:
        cache.resize(10**6)
    assert len(second.stored) == entries - 1
    return second


def warmings_of(replica: Replica, heat: Heat, clock: ManualClock) -> Warmings:
    """Return the warmings of a replica."""
    ids = count(1)
    return Warmings(replica.stored, replica.turn, heat, clock=clock, new_id=lambda: f"w{next(ids)}")


async def ended(warmings: Warmings, warming: Warming) -> Warming:
    """Wait until a warming is over."""
    async with asyncio.timeout(20):
        while warmings.get(warming.tenant, warming.id).state is State.RUNNING:  # noqa: ASYNC110 - polled, as callers do
            await asyncio.sleep(0)
    return warmings.get(warming.tenant, warming.id)


def held_keys(replica: Replica, entries: int = 40) -> set[str]:
    """Return what is in memory."""
    return {f"k{n}" for n in range(entries) if replica.cache.held(Address("a", f"k{n}")) is not None}


def test_strategies_order(make_entry: MakeEntry, clock: ManualClock) -> None:
    """Valuable: uses times cost; recent: last used, else last stored; a label filters."""
    dear, cheap, used = make_entry("dear", cost=100), make_entry("cheap", cost=1), make_entry("used", cost=40)
    clock.advance(1)
    new = replace(make_entry("new", cost=1, tags=("t",)), create_time=clock.now())
    heat = heat_of(used.address, used.address, used.address, cheap.address)
    entries = [cheap, new, used, dear]
    assert ordered(entries, VALUABLE, heat) == [used, dear, cheap, new]
    assert ordered(entries, Plan(Strategy.MOST_RECENT), heat) == [cheap, used, new, dear]
    assert ordered(entries, Plan(Strategy.TAG, "t"), heat) == [new]


@pytest.mark.parametrize(
    ("plan", "keys", "reason"),
    [
        (VALUABLE, {f"k{n}" for n in range(40)}, "all candidates"),
        (
            Plan(Strategy.MOST_VALUABLE, max_entries=5),
            {"k34", "k35", "k36", "k37", "k38", "k39"},
            "5 entries",
        ),
        (Plan(Strategy.MOST_RECENT, max_entries=2), {"k37", "k38", "k39"}, "2 entries"),
        (Plan(Strategy.TAG, "odd", max_entries=2), {"k35", "k37", "k39"}, "2 entries"),
    ],
)
async def test_it_brings_the_most_promising(
    clock: ManualClock, make_entry: MakeEntry, plan: Plan, keys: set[str], reason: str
) -> None:
    """Exactly those come that the strategy puts first, within the budget; none of it counts as a lookup."""
    replica = await after_a_start_without_room(clock, make_entry, Store(clock))
    warmings = warmings_of(replica, Heat(), clock)
    found = await ended(warmings, warmings.start("a", plan))
    assert (found.state, found.warmed) == (State.SUCCEEDED, len(keys) - 1)
    assert reason in found.reason
    assert held_keys(replica) == keys
    counters = replica.cache.counters("a")
    assert (counters.hits, counters.misses, counters.evictions) == (0, 0, 0)
    assert len(replica.writes) == 0


async def test_the_budget_of_bytes_holds(clock: ManualClock, make_entry: MakeEntry) -> None:
    """No more than the budget is filled, and nearly as much."""
    replica = await after_a_start_without_room(clock, make_entry, Store(clock))
    before = replica.cache.size_bytes
    warmings = warmings_of(replica, Heat(), clock)
    found = await ended(warmings, warmings.start("a", Plan(Strategy.MOST_VALUABLE, max_bytes=5_000)))
    assert 4_000 < found.warmed_bytes <= 5_000
    assert replica.cache.size_bytes - before <= found.warmed_bytes + 2 * 700  # two sets of labels


async def test_nothing_leaves_for_it(clock: ManualClock, make_entry: MakeEntry) -> None:
    """In a memory that is full all that was there stays, hot or cold, and the warming says why it ends."""
    replica = await after_a_start_without_room(clock, make_entry, Store(clock), entries=120)
    with replica.turn as cache:
        cache.resize(cache.size_bytes + 2_000)
    before = held_keys(replica, 120)
    warmings = warmings_of(replica, heat_of(*[Address("a", f"k{n}") for n in range(120)] * 3), clock)
    found = await ended(warmings, warmings.start("a", VALUABLE))
    assert 0 < found.warmed < 4
    assert "no more free room" in found.reason
    assert before < held_keys(replica, 120)
    assert replica.cache.counters("a").evictions == 0
    assert replica.cache.size_bytes <= replica.cache.max_bytes


async def test_beginning_again_goes_on(clock: ManualClock, make_entry: MakeEntry) -> None:
    """A second warming looks only at what is still missing; a cancelled one keeps what came."""
    store = ReadableStore(clock)
    replica = await after_a_start_without_room(clock, make_entry, store)
    warmings = warmings_of(replica, Heat(), clock)
    await ended(warmings, warmings.start("a", Plan(Strategy.MOST_VALUABLE, max_entries=10)))
    store.gate.clear()
    second = warmings.start("a", VALUABLE)
    assert second.candidates == 29
    with pytest.raises(ServiceError, match="is running") as refused:
        warmings.start("a", VALUABLE)
    assert refused.value.reason == "WARMING_RUNNING"
    assert warmings.start("b", VALUABLE).candidates == 0
    assert (await warmings.cancel("a", second.id)).state is State.CANCELLED
    store.gate.set()
    assert len(held_keys(replica)) == 11
    assert (await ended(warmings, warmings.start("a", VALUABLE))).warmed == 29
    await warmings.close()


async def test_a_store_that_is_away_fails_it(clock: ManualClock, make_entry: MakeEntry) -> None:
    """It ends as FAILED and says so; nobody else sees it, and the next one works."""
    store = ReadableStore(clock)
    replica = await after_a_start_without_room(clock, make_entry, store)
    warmings = warmings_of(replica, Heat(), clock)
    store.away = True
    found = await ended(warmings, warmings.start("a", VALUABLE))
    assert (found.state, found.warmed, found.reason) == (State.FAILED, 0, "down")
    with pytest.raises(ServiceError) as unknown:
        warmings.get("b", found.id)
    assert unknown.value.reason == "WARMING_NOT_FOUND"
    store.away = False
    assert (await ended(warmings, warmings.start("a", VALUABLE))).warmed == 39


async def test_only_so_many_are_remembered(clock: ManualClock, make_entry: MakeEntry) -> None:
    """The oldest that have ended are forgotten."""
    replica = await after_a_start_without_room(clock, make_entry, Store(clock), entries=2)
    warmings = warmings_of(replica, Heat(), clock)
    all_of_them = [await ended(warmings, warmings.start("a", VALUABLE)) for _ in range(102)]
    with pytest.raises(ServiceError):
        warmings.get("a", all_of_them[1].id)
    assert warmings.get("a", all_of_them[2].id).id == all_of_them[2].id


async def test_given_entries_take_free_room_only(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Given ahead, an entry is stored if its key has none, also in the store, and nothing must leave."""
    replica = await after_a_start_without_room(clock, make_entry, Store(clock), entries=3)
    cache, before = replica.cache, held_keys(replica, 3)
    with replica.turn:
        cache.resize(5_000)
        for key in ("k0", "k1", "k2"):
            assert store_if_free(cache, make_entry(key, encoded=b"other"), replica.stored) is Kept.HELD
        assert store_if_free(cache, make_entry("new"), replica.stored) is Kept.STORED
        assert store_if_free(cache, make_entry("large", encoded=b"x" * 4_000), replica.stored) is Kept.NO_ROOM
        with pytest.raises(ServiceError, match="limit"):
            store_if_free(cache, make_entry("giant", encoded=b"x" * 20_000), replica.stored)
    assert held_keys(replica, 3) == before
    assert len(cache) == 2
    assert cache.counters("a").evictions == 0


async def test_a_start_loads_what_was_used(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Of more than fits those noted as used last come, in that order; without a note, those stored last."""
    store = Store(clock)
    first = await Replica(store, clock).start()
    for number in range(20):
        put(first, make_entry(f"k{number}", encoded=b"x" * 100))
        await first.writes.flush()
        clock.advance(1)
    notes = HeatRepository(store, clock=clock, writer=3)
    used = [Address("a", f"k{number}") for number in (2, 7, 4, 2)]
    assert await notes.save(heat := heat_of(*used)) is True
    assert await notes.save(heat) is False
    for note, expected in ((None, {"k17", "k18", "k19"}), (notes, {"k7", "k4", "k2"})):
        size = first.cache.bytes_of(make_entry("k10", encoded=b"x" * 100))
        cache = ContentCache(max_bytes=3 * size, policy=Lru(), clock=clock, new_token=str)
        told: list[tuple[str, int]] = []
        loader = Loader(
            Replica(store, clock).repository,
            cache,
            clock=clock,
            heat=note,
            remember=lambda address, uses, told=told: told.append((address.key, uses)),  # type: ignore[misc] # bound now
        )
        await loader.run(1)
        assert {key for key in (f"k{n}" for n in range(20)) if cache.held(Address("a", key))} == expected
        if note is not None:
            assert told == [("k7", 1), ("k4", 1), ("k2", 2)]
            assert cache._policy.victim().key == "k7"


async def test_heat_is_a_matter_of_a_day(clock: ManualClock) -> None:
    """A note that cannot be read, or is none, is no heat; nothing is raised."""
    store = ReadableStore(clock)
    notes = HeatRepository(store, clock=clock, writer=11)
    await notes.save(heat_of(Address("a", "k")))
    assert (await notes.load()).uses(Address("a", "k")) == 1
    store.away = True
    assert len(await notes.load()) == 0
    store.away = False
    clock.advance(2 * 86_400)
    assert len(await notes.load()) == 0
    assert HEAT.ttl_field == "expire_time"
