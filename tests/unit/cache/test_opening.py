"""Packed entries on their way out of a batch and of the semantic tier, and to who listens to the cache."""

from __future__ import annotations

import pytest
from content_cache.answers import similar
from content_cache.compression.opening import UNREAD
from content_cache.entry import Address
from content_cache.insight.insight import Insight, StoreHealth
from content_cache.insight.latencies import Latencies
from content_cache.learning.recency_stack import RecencyStack
from content_cache.repository.schema import SCHEMA
from content_cache.semantic.port import Match, Outcome
from service_common.clock import ManualClock
from service_common.storage.memory import MemoryStore

from tests.unit.cache.conftest import MakeEntry, observed
from tests.unit.cache.packed import PackingReplica, sent, text


@pytest.fixture
async def replica(clock: ManualClock) -> PackingReplica:
    """A replica with four packed entries."""
    replica = await PackingReplica(MemoryStore(SCHEMA, clock), clock).start()
    await replica.fill(range(4))
    assert all(replica.held(number).packing for number in range(4))
    return replica


def test_a_batch_is_opened_each_in_its_place(replica: PackingReplica) -> None:
    """Hits come as they are sent; a damaged one is a miss and counted as one."""
    replica.damage(2, 40)
    with replica.turn as cache:
        found = cache.get_many("a", ["k0", "k2", "none", "k2", "k3"])
        opened = replica.opening.all_sent(cache, found)
        counters = cache.counters("a")
        assert (counters.hits, counters.misses, counters.saved_micros) == (2, 3, 14)
        assert cache.held(Address("a", "k2")) is None
    assert opened == [sent("k0", text(0)), None, None, None, sent("k3", text(3))]
    assert replica.counts.unpack_failures["damaged"] == 2
    assert replica.counts.unpack_failures[UNREAD] == 0


@pytest.mark.parametrize(("outcome", "misses"), [(Outcome.REUSE, 1), (Outcome.COMPARE, 0)])
def test_a_similar_answer_is_opened(replica: PackingReplica, outcome: Outcome, misses: int) -> None:
    """What is reused or compared is as it is sent; a damaged one is no match, and a miss if it was a hit."""
    whole = Match(outcome, replica.held(1), 0.9, "t")
    with replica.turn as cache:
        entry = similar.opened(whole, cache, replica.opening).entry
    assert entry is not None
    assert (entry.encoded, entry.packing) == (sent("k1", text(1)), "")
    replica.damage(1, 40)
    with replica.turn as cache:
        match = similar.opened(
            Match(outcome, cache.held(Address("a", "k1")), 0.9, "t"), cache, replica.opening
        )
        assert cache.counters("a").misses == misses
    assert match == Match(Outcome.NONE, ticket="t")


def test_answers_are_judged_by_their_content(replica: PackingReplica) -> None:
    """A judge is given the content of a packed entry, and nothing of a damaged one."""
    value_of = similar.values_by(replica.opening)
    assert value_of(replica.held(0)) == text(0).encode()
    replica.damage(0, 40)
    assert value_of(replica.held(0)) is None


def test_each_entry_packed_is_observed(replica: PackingReplica) -> None:
    """What packing takes is told entry by entry, so that a profile can name it."""
    assert len(replica.packing_seconds) == replica.counts.plain.entries == 4
    assert sum(replica.packing_seconds) > 0


def test_a_repack_is_no_storing(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Listeners hear of another size: nothing was stored, uses stay counted, what left a shadow stays out."""
    cache, accesses = observed(clock, max_bytes=10**6, capacity=25_000)
    for key in ("left", "k1", "k2"):
        cache.set(make_entry(key, encoded=bytes(9000)))
    cache.get(Address("a", "k1"))
    shadow = accesses.shadows.by_policy["lru"]
    assert Address("a", "left") not in shadow
    for key in ("left", "k1"):
        before = make_entry(key, encoded=bytes(9000))
        held = cache.held(before.address)
        assert held is not None
        assert cache.repack(held, make_entry(key, encoded=bytes(100), packing="zstd"))
    assert accesses.stored_count == 3
    assert accesses.uses.counts[Address("a", "k1")] == 1
    assert Address("a", "left") not in shadow
    cache.set(make_entry("k3", encoded=bytes(9000)))
    assert all(Address("a", key) in shadow for key in ("k1", "k2", "k3"))


def test_a_key_keeps_its_place_in_another_size() -> None:
    """What was used since is told in present sizes; a key's own size is the last it was given."""
    stack = RecencyStack(4)
    for key, size in (("k0", 10), ("k1", 20), ("k2", 40)):
        stack.put(Address("a", key), size)
    stack.resize(Address("a", "k1"), 3)
    assert stack.touch(Address("a", "k0")) == (43, 10)
    assert stack.touch(Address("a", "k1")) == (50, 3)


@pytest.mark.parametrize("packs", [False, True])
def test_compression_is_no_advice_to_who_has_it(
    clock: ManualClock, make_entry: MakeEntry, *, packs: bool
) -> None:
    """What compression would leave is estimated while it is off alone."""
    cache, accesses = observed(clock, max_bytes=10**6)
    insight = Insight(accesses, Latencies(), policy="lru", store=StoreHealth, packs=packs)
    for number in range(20):
        cache.set(make_entry(f"k{number}", encoded=bytes(9000)))
    part = insight._observed(cache, "a").compressed_part
    assert (part is None) if packs else (part is not None and part < 0.5)
