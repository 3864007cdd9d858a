"""What listens to a cache: heat, hot keys, use by label, and shadows beside the simulator."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import POLICIES, Lru, make_policy
from content_cache.learning.heat import Heat, StoredHeat, encode
from content_cache.learning.use_sample import UseSample
from content_cache.moments import micros
from content_cache.sampling import PLACES
from content_cache.simulation.replay import replay
from content_cache.simulation.trace import Request
from hypothesis import given
from hypothesis import strategies as st
from service_common.clock import ManualClock

from tests.unit.cache.conftest import MakeEntry, observed

KEYS = st.integers(0, 9).map(lambda number: Address("a", str(number)))


def heated(steps: list[Address], most_keys: int) -> Heat:
    """Return heat that took lookups in by threes."""
    heat = Heat(most_keys)
    for start in range(0, len(steps), 3):
        heat.followed(steps[start : start + 3])
    return heat


@given(st.lists(KEYS, max_size=60))
def test_heat_is_a_list_of_last_uses(steps: list[Address]) -> None:
    """Whatever is looked up, keys are in the order of last use, with all uses; a bound keeps the latest."""
    last = {address: place for place, address in enumerate(steps)}
    expected = [(address, steps.count(address)) for address in sorted(last, key=last.__getitem__)]
    assert heated(steps, 100).order() == expected
    few = [each for each, _ in heated(steps, 3).order()]
    assert few == [each for each, _ in expected[len(expected) - len(few) :]]
    assert min(3, len(expected)) <= len(few) <= 10


@given(st.lists(KEYS, min_size=1, max_size=60))
def test_a_snapshot_keeps_order_and_uses(steps: list[Address]) -> None:
    """What a start learns has the order and the uses that were noted; others are as old as they are."""
    heat, stored = heated(steps, 100), StoredHeat()
    now = ManualClock().now()
    stored.learn(b"".join(encode(heat.order())), micros(now))
    entries = [Entry(each, b"", 0, now - timedelta(days=1), now) for each, _ in heat.order()]
    assert [stored.uses(each) for each, _ in heat.order()] == [uses for _, uses in heat.order()]
    uses = [stored.last_use(each) for each in entries]
    assert uses == sorted(set(uses))
    other = Entry(Address("b", "0"), b"", 0, now - timedelta(hours=1), now)
    assert (stored.uses(other.address), stored.last_use(other)) == (0, micros(other.create_time))
    assert stored.last_use(other) < min(uses)


def test_the_later_snapshot_holds_and_a_damaged_one_says_nothing() -> None:
    """Of a key in two replicas' snapshots the later use counts, in whichever order they are read."""
    address = Address("a", "k")
    early, late = (b"".join(encode([(address, uses)])) for uses in (3, 7))
    for order in ((early, 10), (late, 20)), ((late, 20), (early, 10)):
        stored = StoredHeat()
        for snapshot, written in order:
            stored.learn(snapshot, written)
        assert stored.uses(address) == 7
    damaged = StoredHeat()
    damaged.learn(late[:-1], 20)
    assert damaged.uses(address) == 0


def asked(length: int) -> list[int]:
    """Return keys as they are asked for, a few of them far more often."""
    chance = random.Random(3)
    weights = [1 / (rank + 1) ** 0.9 for rank in range(500)]
    return chance.choices(range(500), weights, k=length)


@pytest.mark.parametrize("active", sorted(POLICIES))
def test_shadows_get_what_the_simulator_gets(clock: ManualClock, make_entry: MakeEntry, active: str) -> None:
    """Whatever the cache's own policy, each shadow's hits and savings are those of its policy replayed."""
    max_bytes = 100_000
    cache, accesses = observed(clock, max_bytes=max_bytes, policy=active)
    requests: list[Request] = []
    for number in asked(6000):
        entry = make_entry(f"k{number}", encoded=b"x" * (number % 7) * 100, cost=1 + number % 11 * 100)
        requests.append(Request(entry.address, cache.bytes_of(entry), entry.cost_micros))
        if cache.get(entry.address) is None:
            cache.set(entry)
        cache.take_effects()
    assert accesses.shadows.lookups == len(requests)
    for name, shadow in accesses.shadows.by_policy.items():
        exact = replay(requests, make_policy(name), capacity=max_bytes)
        assert abs(shadow.hits - exact.hits) <= 0.01 * len(requests), name
        assert shadow.saved_micros == pytest.approx(exact.saved_micros, rel=0.02), name
    assert accesses.shadows.by_policy["gdsf"].saved_micros > accesses.shadows.by_policy["lru"].saved_micros


@given(
    st.lists(
        st.tuples(st.sampled_from(["look", "look", "look", "store", "resize", "drop"]), KEYS), max_size=80
    )
)
def test_who_catches_up_late_learns_what_was_learnt_at_once(steps: list[tuple[str, Address]]) -> None:
    """When those who learn look makes no difference: to curve, shadows, or how often keys are used."""
    clock = ManualClock()
    (_, late), (_, at_once) = (observed(clock, max_bytes=2_000) for _ in range(2))
    for number, (what, address) in enumerate(steps):
        for each in (late, at_once):
            if what == "look":
                if number % 3:
                    each.looked_up(address)
                else:
                    each.looked_up_all([address, address], [address, address])
            elif what == "store":
                each.stored(address, 500 + number)
            elif what == "resize":
                each.resized(address, 400 + number)
            else:
                each.dropped(address)
        at_once.catch_up()
    sizes = (500, 1_000, 2_000, 4_000)
    assert [late.curve.hit_ratio(size) for size in sizes] == [at_once.curve.hit_ratio(size) for size in sizes]
    assert late.curve.lookups == at_once.curve.lookups
    assert late.uses.counts == at_once.uses.counts
    for name, shadow in late.shadows.by_policy.items():
        assert shadow.hits == at_once.shadows.by_policy[name].hits, name


def test_memory_is_bounded(clock: ManualClock, make_entry: MakeEntry) -> None:
    """However many keys come and go, no more are followed than each may."""
    cache, accesses = observed(clock, max_bytes=10_000_000)
    for number in range(30_000):
        cache.get(Address("a", f"k{number}"))
        cache.set(make_entry(f"k{number}"))
        cache.take_effects()
    assert len(accesses.uses) <= 8192
    assert len(accesses.shadows._known) <= 8192
    assert len(accesses.heat) <= 32_768 + 2 * 2048
    assert len(accesses._recent) < 2048
    assert accesses.shadows.rate < 1


def test_a_batch_makes_keys_hot_as_single_lookups_do(clock: ManualClock) -> None:
    """Keys looked up in batches are named and noted under the same address as those looked up one by one."""
    (together, batched), (apart, single) = (observed(clock, max_bytes=10_000) for _ in range(2))
    together.get_many("a", ["k1", "k2", "k1"])
    for key in ("k1", "k2", "k1"):
        apart.get(Address("a", key))
    found = batched.hottest()
    assert found is not None
    assert (found, found[0].tenant) == (single.hottest(), "a")
    assert list(encode(batched.heat.order())) == list(encode(single.heat.order()))


def test_the_hot_key_is_found(clock: ManualClock) -> None:
    """Of many lookups the key asked for most is named with its part, before a fold is full too."""
    cache, accesses = observed(clock, max_bytes=10_000)
    assert accesses.hottest() is None
    for number in range(3000):
        cache.get(Address("a", "hot" if number % 3 == 0 else f"k{number}"))
    found = accesses.hottest()
    assert found is not None
    address, share, lookups = found
    assert (address.key, lookups) == ("hot", 2048 // 4 + 3000 - 2048)
    assert share == pytest.approx(1 / 3, abs=0.01)


def test_labels_are_ranked_by_what_is_never_used(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Per label of the tenant: what its entries take, and what of it nobody has used since it was stored."""
    cache, accesses = observed(clock, max_bytes=1_000_000)
    for number in range(60):
        tag = "idle" if number % 2 else "busy"
        cache.set(make_entry(f"k{number}", tags=(tag, "all")))
        if tag == "busy":
            cache.get(Address("a", f"k{number}"))
    cache.set(make_entry("other", tenant="b", tags=("secret",)))
    cache.delete(Address("a", "k1"))
    idle, everything, busy = sorted(
        accesses.uses.by_tag("a"), key=lambda each: ("idle", "all", "busy").index(each.tag)
    )
    assert (idle.entries, busy.entries, everything.entries) == (29, 30, 59)
    assert idle.unused_bytes == idle.size_bytes == everything.unused_bytes
    assert busy.unused_bytes == 0
    assert accesses.uses.by_tag("a")[-1] is not None
    assert {each.tag for each in accesses.uses.by_tag("b")} == {"secret"}


def test_what_left_is_not_followed(make_entry: MakeEntry) -> None:
    """A sample that is full lets go of what the cache does not hold before it follows fewer keys."""
    held: dict[Address, Entry] = {}
    sample = UseSample(held.get, most_keys=10)
    for number in range(100):
        entry = make_entry(f"k{number}")
        held.clear()
        held[entry.address] = entry
        sample.stored(entry.address)
    assert sample.threshold == PLACES
    assert len(sample) <= 10


def test_lru_is_what_it_was(clock: ManualClock) -> None:
    """Listening changes nothing of who leaves."""
    plain = ContentCache(max_bytes=20_000, policy=Lru(), clock=clock, new_token=str)
    heard, _ = observed(clock, max_bytes=20_000)
    for cache in (plain, heard):
        for number in asked(2000):
            address = Address("a", f"k{number}")
            if cache.get(address) is None:
                now = clock.now()
                cache.set(Entry(address, b"x", 1, now, now.replace(year=now.year + 1)))
            cache.take_effects()
    assert plain.counters("a") == heard.counters("a")
