"""What has expired is handed out to all but one, who refreshes it; early too, as the paper says."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from math import exp, sqrt

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.leasing.early_refresh import EarlyRefresh
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome, Stale
from service_common.clock import ManualClock

from tests.unit.cache.replica import Replica, Store, put

MakeEntry = Callable[..., Entry]
K = Address("a", "k")


def acquire(cache: ContentCache, holder: str = "h", address: Address = K) -> Entry | Lease | Stale:
    """Acquire for half a minute."""
    return cache.acquire(address, holder=holder, epoch=0, ttl_s=30)


def expired(cache: ContentCache, clock: ManualClock, entry: Entry, after_s: float) -> None:
    """Store an entry and let time pass."""
    cache.set(entry)
    clock.advance(after_s)
    cache.begin_turn()


def test_one_refreshes_and_the_others_are_served(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Of many callers after the expiry exactly one gets the lease; all get the entry; a fill ends it."""
    entry = make_entry(ttl_s=10, stale_s=60, cost=7)
    expired(cache, clock, entry, 10)
    found = [acquire(cache, f"h{number}") for number in range(100)]
    assert all(isinstance(each, Stale) and each.entry == entry for each in found)
    leases = [each.lease for each in found if isinstance(each, Stale) and each.lease is not None]
    assert [each.holder for each in leases] == ["h0"]
    assert cache.counters("a").stale_hits == cache.counters("a").hits == 100
    fresh = make_entry(encoded=b"fresh")
    assert cache.fill(fresh, leases[0].token) is FillOutcome.FILLED
    assert acquire(cache, "h5") == fresh


def test_a_lookup_never_serves_what_has_expired(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Get and peek are exact; the memory goes when the window is over, and with it every trace."""
    expired(cache, clock, make_entry(ttl_s=10, stale_s=60), 10)
    assert cache.get(K) is cache.peek(K) is None
    assert len(cache) == 1
    clock.advance(59.999)
    cache.begin_turn()
    assert isinstance(acquire(cache, "late"), Stale)
    clock.advance(0.001)
    cache.begin_turn()
    assert isinstance(acquire(cache, "late"), Lease)
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_the_sweep_leaves_stale_entries_alone(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """An expired entry is swept when its window is over and not before."""
    expired(cache, clock, make_entry(ttl_s=10, stale_s=300), 200)
    assert cache.sweep(10) == 0
    clock.advance(200)
    cache.begin_turn()
    assert cache.sweep(10) == 1


def test_a_stale_entry_can_be_deleted(cache: ContentCache, clock: ManualClock, make_entry: MakeEntry) -> None:
    """A delete leaves nothing to be served as stale."""
    expired(cache, clock, make_entry(ttl_s=10, stale_s=60), 10)
    assert cache.delete(K)
    assert isinstance(acquire(cache), Lease)


def test_a_lost_refresh_goes_to_the_next(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A refresher that lets its lease run out or gives it back is followed by exactly one other."""
    expired(cache, clock, make_entry(ttl_s=10, stale_s=600), 10)
    first = acquire(cache, "first")
    assert isinstance(first, Stale)
    assert first.lease
    clock.advance(30)
    cache.begin_turn()
    found = [acquire(cache, f"h{number}") for number in range(5)]
    assert [bool(each.lease) for each in found if isinstance(each, Stale)] == [
        True,
        False,
        False,
        False,
        False,
    ]


def drawing(clock: ManualClock, draw: Callable[[], float]) -> ContentCache:
    """Make a cache whose lots are drawn so."""
    tokens = count()
    return ContentCache(
        max_bytes=10**9,
        policy=Lru(),
        clock=clock,
        new_token=lambda: str(next(tokens)),
        early=EarlyRefresh(draw),
    )


@pytest.mark.parametrize("left_s", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_the_chance_of_an_early_refresh_is_the_papers(
    clock: ManualClock, make_entry: MakeEntry, left_s: float, beta: float
) -> None:
    """P(refresh) = P(-delta beta ln U >= left) = exp(-left / (delta beta)), within four deviations."""
    early = EarlyRefresh(random.Random(7).random, beta=beta)
    entry = make_entry(ttl_s=left_s, generation_s=2.0)
    draws = 40_000
    share = sum(early.is_due(entry, clock.now()) for _ in range(draws)) / draws
    expected = exp(-left_s / (2.0 * beta))
    assert abs(share - expected) <= 4 * sqrt(expected * (1 - expected) / draws)


def test_the_lots_decide_exactly_at_the_formula(clock: ManualClock, make_entry: MakeEntry) -> None:
    """With U = 1 - draw the entry is due when -delta ln(U) reaches what is left, and not a moment before."""
    entry = make_entry(ttl_s=2.0, generation_s=2.0)
    due = 1 - exp(-1.0)
    assert EarlyRefresh(lambda: due + 1e-9).is_due(entry, clock.now())
    assert not EarlyRefresh(lambda: due - 1e-9).is_due(entry, clock.now())
    assert not EarlyRefresh(lambda: 0.999999).is_due(make_entry(ttl_s=0.001), clock.now())


def test_exactly_one_refreshes_early(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Once someone refreshes, all others are served as if nothing were; its repeats get its lease again."""
    cache = drawing(clock, lambda: 0.999999)
    entry = make_entry(ttl_s=5, generation_s=2.0)
    cache.set(entry)
    first = acquire(cache, "first")
    assert isinstance(first, Stale)
    assert first.lease
    assert acquire(cache, "second") == entry
    assert acquire(cache, "first") == first
    assert cache.counters("a").stale_hits == 0
    assert cache.fill(make_entry(encoded=b"new"), first.lease.token) is FillOutcome.FILLED
    assert cache.active_leases() == 0


def test_how_long_the_lease_was_held_is_how_long_it_took(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Without a generation time it is the time from lease to fill, renewals or not."""
    cache = drawing(clock, lambda: 0.0)
    lease = acquire(cache)
    assert isinstance(lease, Lease)
    clock.advance(4)
    cache.begin_turn()
    cache.renew(K, lease.token, ttl_s=30)
    clock.advance(3)
    cache.begin_turn()
    cache.fill(make_entry(stale_s=60), lease.token)
    held = cache.held(K)
    assert held
    assert held.generation_s == pytest.approx(7)


@pytest.mark.parametrize("stale_s", [0.0, 3600.0])
def test_ten_thousand_keys_that_expire_together_are_refreshed_once_each(
    clock: ManualClock, make_entry: MakeEntry, stale_s: float
) -> None:
    """Under random load around one expiry every key is generated by one, with a window or without."""
    rng = random.Random(5)
    cache = drawing(clock, rng.random)
    keys = [Address("a", f"k{number}") for number in range(10_000)]
    for key in keys:
        cache.set(make_entry(key.key, ttl_s=100, stale_s=stale_s, generation_s=2.0 if stale_s else 0.0))
    tokens: dict[Address, set[str]] = {key: set() for key in keys}
    under_way: deque[tuple[float, Lease]] = deque()
    clock.advance(90)
    for _ in range(60):
        clock.advance(0.5)
        cache.begin_turn()
        while under_way and under_way[0][0] <= clock.monotonic():
            lease = under_way.popleft()[1]
            assert cache.fill(make_entry(lease.address.key, ttl_s=10_000), lease.token) is FillOutcome.FILLED
        for _ in range(3_000):
            holder, key = f"h{rng.randrange(50)}", rng.choice(keys)
            mine = own_lease(acquire(cache, holder, key), holder)
            if mine is not None and mine.token not in tokens[key]:
                tokens[key].add(mine.token)
                under_way.append((clock.monotonic() + 2, mine))
    assert {len(each) for each in tokens.values()} == {1}


def own_lease(found: Entry | Lease | Stale, holder: str) -> Lease | None:
    """Return the caller's lease if it has one now."""
    if isinstance(found, Stale):
        return found.lease
    return found if isinstance(found, Lease) and found.holder == holder else None


def test_an_entry_leaves_when_its_window_is_over(make_entry: MakeEntry) -> None:
    """The window begins with the expiry, to the fraction of a second."""
    entry = make_entry(ttl_s=10, stale_s=5.5)
    assert entry.leave_time - entry.expire_time == timedelta(seconds=5.5)
    assert not entry.is_gone(entry.expire_time)
    assert entry.is_gone(entry.leave_time)


async def test_a_window_outlives_restarts_and_compaction(clock: ManualClock, make_entry: MakeEntry) -> None:
    """A stored entry is there until its window is over, and not longer."""
    store = Store(clock)
    replica = await Replica(store, clock).start()
    entry = make_entry(ttl_s=10, stale_s=60)
    put(replica, entry)
    await replica.writes.flush()
    clock.advance(30)
    while await replica.repository.compact():
        pass
    clock.advance(39.9)
    again = await Replica(store, clock).start()
    assert (again.cache.peek(entry.address), again.cache.held(entry.address)) == (None, entry)
    clock.advance(0.1)
    assert len((await Replica(store, clock).start()).cache) == 0
