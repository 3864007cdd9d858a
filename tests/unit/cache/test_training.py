"""Dictionaries are durable before they are used, kept while needed, and gone when their tenant is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from content_cache.compression.dictionary import Dictionary
from content_cache.compression.repository import DictionaryRepository
from content_cache.compression.samples import FIRST_AT
from content_cache.holding.rules import Kind, Mode, Selector
from service_common.clock import ManualClock
from service_common.errors import unavailable
from service_common.storage.documents import Key, Set

from tests.unit.cache.packed import PackingReplica, sent, text
from tests.unit.cache.replica import Store, put

ALL = Selector(Kind.ALL)


@pytest.fixture
def store(clock: ManualClock) -> Store:
    """A store that is away when told to."""
    return Store(clock)


async def stored(store: Store) -> list[Dictionary]:
    """Return every dictionary in the store."""
    page, _ = await DictionaryRepository(store).newest(None)
    return [dictionary for dictionary, _ in page]


async def test_nothing_is_packed_with_what_is_not_stored(store: Store, clock: ManualClock) -> None:
    """While the store is away a dictionary that was trained is not used; entries are packed without."""
    replica = await PackingReplica(store, clock).start()
    await replica.fill(range(FIRST_AT))
    store.away = True
    await replica.compression.training.train("a")
    await replica.fill(range(100, 110))
    assert {replica.held(number).packing for number in range(100, 110)} == {"zstd"}
    assert (replica.counts.trainings, replica.counts.failed) == (0, 1)
    assert replica.dictionaries.size_bytes == 0


async def test_it_is_kept_as_long_as_its_entries(store: Store, clock: ManualClock) -> None:
    """An entry of thirty days is readable after 29, also after a restart; then its dictionary goes."""
    month = 30 * 24 * 3600
    replica = await PackingReplica(store, clock).start()
    await replica.trained()
    await replica.fill(range(100, 101), ttl_s=month)
    await replica.replica.writes.flush()
    clock.advance(month - 24 * 3600)
    after = await PackingReplica(store, clock).start()
    assert after.get(100) == sent("k100", text(100))
    clock.advance(3 * month)
    assert await stored(store) == []


async def test_what_cannot_be_kept_long_enough_is_not_used(store: Store, clock: ManualClock) -> None:
    """An entry that outlives the stored dictionary is packed without it while the store is away."""
    replica = await PackingReplica(store, clock).start()
    name = await replica.trained()
    store.away = True
    await replica.fill(range(100, 101), ttl_s=10**7)
    await replica.fill(range(101, 102), ttl_s=10)
    assert replica.held(100).packing == "zstd"
    assert replica.held(101).packing == f"zstd:{name}"


async def test_a_purge_of_all_takes_dictionaries_along(store: Store, clock: ManualClock) -> None:
    """They leave memory, its accounts and the store; another tenant's stay; packing goes on without."""
    replica = await PackingReplica(store, clock).start()
    await replica.trained("a")
    await replica.trained("b", first=300)
    before = replica.dictionaries.size_bytes
    await replica.purging.purge("a", ALL, Mode.DELETE)
    assert replica.dictionaries.of_tenant("a") == []
    assert 0 < replica.cache.sizes.reserved_bytes < before
    assert [each.tenant for each in await stored(store)] == ["b"]
    await replica.fill(range(400, 410), "a")
    assert replica.held(400).packing == "zstd"
    assert replica.get(305, "b") == sent("k305", text(305))


async def test_a_purge_of_a_part_leaves_them(store: Store, clock: ManualClock) -> None:
    """Entries that stay can be read."""
    replica = await PackingReplica(store, clock).start()
    await replica.trained()
    await replica.fill(range(100, 110))
    await replica.purging.purge("a", Selector(Kind.PREFIX, "k101"), Mode.DELETE)
    assert replica.get(101) is None
    assert replica.get(102) == sent("k102", text(102))
    assert len(await stored(store)) == 1


async def test_a_purge_while_the_store_is_away_is_made_up_for(store: Store, clock: ManualClock) -> None:
    """What could not be removed from the store is removed when it is back."""
    replica = await PackingReplica(store, clock).start()
    await replica.trained()
    purge = DictionaryRepository.purge

    async def refuse(*_: Any, **__: Any) -> None:
        raise unavailable("STORE_DOWN", "down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DictionaryRepository, "purge", refuse)
        await replica.purging.purge("a", ALL, Mode.DELETE)
    assert DictionaryRepository.purge is purge
    assert replica.dictionaries.of_tenant("a") == []
    assert len(await stored(store)) == 1
    after = await PackingReplica(store, clock).start()
    running = asyncio.create_task(after.compression.training.run(train=False))
    async with asyncio.timeout(5):
        while await stored(store):  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0.01)
    running.cancel()
    assert after.dictionaries.size_bytes == 0


async def test_a_purge_during_training_wins(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary of entries that were purged while it was made is neither used nor stored."""
    replica = await PackingReplica(store, clock).start()
    await replica.fill(range(FIRST_AT))
    put_before = DictionaryRepository.put

    async def purged_meanwhile(self: DictionaryRepository, dictionary: Dictionary, **facts: Any) -> None:
        await replica.purging.purge("a", ALL, Mode.DELETE)
        await put_before(self, dictionary, **facts)

    monkeypatch.setattr(DictionaryRepository, "put", purged_meanwhile)
    await replica.compression.training.train("a")
    assert replica.dictionaries.size_bytes == 0
    assert await stored(store) == []
    assert replica.counts.trainings == 0


async def test_a_second_must_be_better(store: Store, clock: ManualClock) -> None:
    """One that does not beat the one in use is not taken; one that does becomes the next version.

    Entries of the first stay readable by it.
    """
    replica = await PackingReplica(store, clock).start()
    first = await replica.trained()
    await replica.fill(range(100, 140))
    await replica.compression.training.train("a")
    assert [each.dictionary.id for each in replica.dictionaries.of_tenant("a")] == [first]
    assert replica.counts.rejected == 1
    replica.compression.packing._samples.forget("a")
    for number in range(500, 500 + FIRST_AT):
        value = " ".join(f"{word[::-1]}{word[:2]}" for word in text(number).split())
        put(replica.replica, replica.entry(number, encoded=sent(f"k{number}", value)))
        replica.compression.packing.note(replica.held(number).address)
    await replica.compression.packing.round()
    await replica.compression.training.train("a")
    versions = [each.dictionary.version for each in replica.dictionaries.of_tenant("a")]
    assert versions == [2, 1]
    assert replica.get(120) == sent("k120", text(120))


async def test_what_no_entry_needs_leaves_memory(store: Store, clock: ManualClock) -> None:
    """An older version without entries is let go before the next is trained."""
    replica = await PackingReplica(store, clock).start()
    first = await replica.trained()
    used = replica.dictionaries.latest("a")
    assert used is not None
    other = Dictionary(
        "a", used.dictionary.content + b"x", version=2, era=0, create_time=clock.now(), samples=1
    )
    await DictionaryRepository(store).put(other, keep_until=used.keep_until)
    replica.dictionaries.wanted.add(("a", other.id))
    await replica.compression.training.fetch()
    assert len(replica.dictionaries.of_tenant("a")) == 2
    await replica.compression.training.train("a")
    assert first not in {each.dictionary.id for each in replica.dictionaries.of_tenant("a")}
    assert replica.cache.sizes.reserved_bytes == replica.dictionaries.size_bytes


async def test_a_damaged_dictionary_is_lost(store: Store, clock: ManualClock) -> None:
    """One whose content is not what its name says is not used."""
    replica = await PackingReplica(store, clock).start()
    name = await replica.trained()
    key = Key("dictionaries", "a", name)
    document = await store.get(key)
    assert document is not None
    content = document.data["content"]
    assert isinstance(content, bytes)
    await store.commit([Set(key, {**document.data, "content": content[:-1] + b"?"})])
    assert await DictionaryRepository(store).get("a", name) is None
    assert (await PackingReplica(store, clock).start()).dictionaries.size_bytes == 0


async def test_a_budget_bounds_them(store: Store, clock: ManualClock) -> None:
    """A cache so small that a dictionary would take more than its share trains none."""
    replica = await PackingReplica(store, clock, 1_000_000).start()
    await replica.fill(range(FIRST_AT))
    await replica.compression.training.train("a")
    assert replica.dictionaries.latest("a") is None
    assert replica.counts.rejected == 1


async def test_what_was_purged_packs_nothing(store: Store, clock: ManualClock) -> None:
    """Once a purge of all is known, and before its dictionaries are gone, nothing is packed with them."""
    replica = await PackingReplica(store, clock).start()
    await replica.trained()
    rules = await replica.replica.purges.add("a", ALL, Mode.DELETE)
    with replica.turn as cache:
        cache.rules.learn("a", rules)
    assert replica.dictionaries.latest("a") is not None
    await replica.fill(range(200, 203))
    assert {replica.held(number).packing for number in range(200, 203)} == {"zstd"}
