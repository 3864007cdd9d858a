"""The curve beside the simulator, and the stack beneath it beside a list."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.learning.miss_ratio_curve import MissRatioCurve
from content_cache.learning.recency_stack import RecencyStack
from content_cache.sampling import PLACES
from content_cache.simulation.replay import footprint, replay
from content_cache.simulation.trace import Request
from hypothesis import given
from hypothesis import strategies as st
from service_common.clock import ManualClock

from tests.unit.cache.conftest import observed

KEYS = st.integers(0, 9).map(lambda number: Address("a", str(number)))


@given(st.lists(st.tuples(st.sampled_from(["put", "touch", "drop"]), KEYS, st.integers(0, 99)), max_size=200))
def test_the_stack_is_a_list(steps: list[tuple[str, Address, int]]) -> None:
    """Under any history the bytes used since a key was are those of the keys after it in a list."""
    stack = RecencyStack(10)
    model: dict[Address, int] = {}
    for action, address, size in steps:
        if action == "put":
            stack.put(address, size)
            model.pop(address, None)
            model[address] = size
        elif action == "drop":
            stack.drop(address)
            model.pop(address, None)
        elif address in model:
            keys = list(model)
            since = sum(model[each] for each in keys[keys.index(address) + 1 :])
            assert stack.touch(address) == (since, model[address])
            model[address] = model.pop(address)
        assert len(stack) == len(model)
        assert (address in stack) == (address in model)


def spread(address: Address) -> int:
    """Hash an address the same way in every process."""
    return int.from_bytes(blake2b(address.key.encode(), digest_size=8).digest(), "big") % PLACES


def skewed(length: int, *, keys: int) -> list[Request]:
    """Make requests some of which are asked for far more often, of many sizes."""
    chance = random.Random(7)
    weights = [1 / (rank + 1) ** 0.8 for rank in range(keys)]
    sizes = [chance.choice((200, 1500, 4000, 20_000)) for _ in range(keys)]
    drawn = chance.choices(range(keys), weights, k=length)
    return [Request(Address("", f"key-{number}"), sizes[number], 1) for number in drawn]


def watched(requests: list[Request], curve: MissRatioCurve) -> MissRatioCurve:
    """Show requests to a curve, as a cache that keeps everything would."""
    seen: set[Address] = set()
    for each in requests:
        curve.looked_up(each.address)
        if each.address not in seen:
            seen.add(each.address)
            curve.stored(each.address, each.size_bytes)
    return curve


@pytest.mark.parametrize("max_samples", [2_000, 30_000])
def test_it_says_what_the_simulator_finds(max_samples: int) -> None:
    """At several sizes it is within two points of LRU replayed; with all keys followed, within one."""
    requests = skewed(60_000, keys=20_000)
    curve = watched(requests, MissRatioCurve(max_samples=max_samples, place_of=spread))
    assert curve.rate == 1.0 if max_samples > 20_000 else curve.rate < 0.2
    for share in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        size = int(footprint(requests) * share)
        exact = replay(requests, Lru(), capacity=size).hit_ratio
        assert abs(curve.hit_ratio(size) - exact) < (0.02 if max_samples < 20_000 else 0.01), share


def test_its_memory_is_bounded() -> None:
    """However many keys come and go, no more are kept than it may follow, in order or out."""
    curve = MissRatioCurve(max_samples=100, place_of=spread)
    for number in range(20_000):
        address = Address("a", f"{number}")
        curve.looked_up(address)
        curve.stored(address, 100)
        if number % 3:
            curve.dropped(address)
            curve.stored(address, 100)
    assert len(curve._stack) <= 100
    assert len(curve._order) <= 201
    assert curve.lookups == 20_000


def test_without_lookups_it_says_nothing() -> None:
    """Zero before the first lookup, and for no memory at all."""
    curve = MissRatioCurve()
    assert curve.hit_ratio(1e9) == 0.0
    curve.looked_up(Address("a", "k"))
    assert curve.hit_ratio(0) == curve.hit_ratio(1e12) == 0.0


def test_what_is_gone_everywhere_misses(clock: ManualClock) -> None:
    """A cache tells it of lookups, entries, deletions and expiry, and evicting is no reason to forget."""
    cache, accesses = observed(clock, max_bytes=1_500)

    def store(key: str, ttl_s: float) -> None:
        now = clock.now()
        from_now = now.fromtimestamp(now.timestamp() + ttl_s, tz=now.tzinfo)
        cache.set(Entry(Address("a", key), b"x", 1, now, from_now))

    for key in ("evicted", "1", "2"):
        store(key, 100)
    assert cache.get(Address("a", "evicted")) is None
    store("deleted", 100)
    cache.delete(Address("a", "deleted"))
    assert cache.get(Address("a", "deleted")) is None
    store("expired", 1)
    clock.advance(2)
    cache.begin_turn()
    assert cache.get(Address("a", "expired")) is None
    assert accesses.curve.hit_ratio(1_500) == 0.0
    assert accesses.curve.hit_ratio(1_000_000) == pytest.approx(1 / 3)
