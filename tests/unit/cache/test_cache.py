"""The cache's promises, one by one: expiry, limits, single flight, counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import ENTRY_OVERHEAD_BYTES, Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome
from service_common.clock import ManualClock
from service_common.errors import ServiceError

MakeEntry = Callable[..., Entry]
K = Address("a", "k")


def lease_of(cache: ContentCache, address: Address, holder: str = "h", epoch: int = 0) -> Lease:
    """Acquire a key that has no entry."""
    found = cache.acquire(address, holder=holder, epoch=epoch, ttl_s=30)
    assert isinstance(found, Lease)
    return found


def test_expiry_is_exact_on_read(cache: ContentCache, clock: ManualClock, make_entry: MakeEntry) -> None:
    """An entry is served until the very moment it expires, and never from then on."""
    cache.set(make_entry(ttl_s=10))
    clock.advance(9.999)
    cache.begin_turn()
    assert cache.get(K) is not None
    clock.advance(0.001)
    cache.begin_turn()
    assert cache.get(K) is None
    assert cache.counters("a").expirations == 1
    assert cache.size_bytes == 0


def test_sweep_frees_what_nobody_reads_in_bounded_slices(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A sweep removes expired entries alone, no more than its limit at once."""
    for number in range(5):
        cache.set(make_entry(f"short{number}", ttl_s=1 + 20 * number))
    cache.set(make_entry("long", ttl_s=10_000))
    clock.advance(200)
    cache.begin_turn()
    assert [cache.sweep(2), cache.sweep(2), cache.sweep(2), cache.sweep(2)] == [2, 2, 1, 0]
    assert len(cache) == 1
    assert cache.get(Address("a", "long")) is not None


def test_least_recently_used_leaves_first(cache: ContentCache, make_entry: MakeEntry) -> None:
    """When the limit is reached, the entry unused for longest leaves; a read makes an entry recent."""
    size = make_entry("k0").size_bytes
    room = cache.max_bytes // size
    for number in range(room):
        cache.set(make_entry(f"k{number}"))
    assert cache.get(Address("a", "k0")) is not None
    cache.set(make_entry("x1"))
    assert cache.peek(Address("a", "k0")) is not None
    assert cache.peek(Address("a", "k1")) is None
    assert cache.counters("a").evictions == 1
    assert cache.size_bytes <= cache.max_bytes


def test_peek_leaves_no_trace(cache: ContentCache, make_entry: MakeEntry) -> None:
    """Peeking changes neither recency nor counts."""
    room = cache.max_bytes // make_entry("k0").size_bytes
    for number in range(room):
        cache.set(make_entry(f"k{number}"))
    assert cache.peek(Address("a", "k0")) is not None
    cache.set(make_entry("x1"))
    assert cache.peek(Address("a", "k0")) is None
    assert cache.counters("a").hits == cache.counters("a").misses == 0


def test_entry_over_the_limit_is_refused_and_changes_nothing(
    cache: ContentCache, make_entry: MakeEntry
) -> None:
    """An entry of exactly the limit fits; one byte more is ENTRY_TOO_LARGE and evicts nobody."""
    most = cache.max_bytes - ENTRY_OVERHEAD_BYTES - 1
    cache.set(make_entry(encoded=b"x" * most))
    with pytest.raises(ServiceError) as refused:
        cache.set(make_entry("z", encoded=b"x" * (most + 1)))
    assert refused.value.reason == "ENTRY_TOO_LARGE"
    assert cache.get(K) is not None


def test_replacing_accounts_once(cache: ContentCache, make_entry: MakeEntry) -> None:
    """Replacing an entry leaves one entry's bytes, and the durable tier learns what was there."""
    first, second = make_entry(encoded=b"1" * 50), make_entry(encoded=b"2" * 70)
    cache.set(first)
    cache.set(second)
    assert cache.size_bytes == cache.counters("a").size_bytes == second.size_bytes
    assert cache.take_effects().changed == [(K, None), (K, first)]


def test_set_in_the_past_leaves_nothing(cache: ContentCache, make_entry: MakeEntry) -> None:
    """An entry whose moment has passed replaces what is there by nothing; waiters lose the lease."""
    cache.set(make_entry())
    cache.set(make_entry(ttl_s=0))
    assert cache.get(K) is None
    lease_of(cache, K)
    cache.set(make_entry(ttl_s=-5))
    assert cache.take_effects().decided == [(K, None)]


def test_set_ends_the_lease_and_supersedes_its_fill(cache: ContentCache, make_entry: MakeEntry) -> None:
    """A set gives waiters its entry; the holder's fill afterwards is SUPERSEDED and not stored."""
    lease = lease_of(cache, K)
    stored = make_entry(encoded=b"set")
    cache.set(stored)
    assert cache.take_effects().decided == [(K, stored)]
    assert cache.fill(make_entry(encoded=b"fill"), lease.token) is FillOutcome.SUPERSEDED
    assert cache.get(K) == stored


def test_fill_stores_ends_the_lease_and_may_be_repeated(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Filling twice with one token is FILLED twice, and the repeat never undoes what came in between."""
    lease = lease_of(cache, K)
    entry = make_entry()
    assert cache.fill(entry, lease.token) is FillOutcome.FILLED
    assert cache.take_effects().decided == [(K, entry)]
    assert cache.active_leases("a") == 0
    assert cache.delete(K)
    assert cache.fill(make_entry(encoded=b"again"), lease.token) is FillOutcome.FILLED
    assert cache.get(K) is None


@pytest.mark.parametrize("token", ["", "unknown"])
def test_fill_without_a_lease_is_stored_because_it_is_paid_for(
    cache: ContentCache, make_entry: MakeEntry, token: str
) -> None:
    """Content without a valid lease is stored if nobody else's is there, and ends the present lease."""
    lease = lease_of(cache, K, holder="other")
    entry = make_entry()
    assert cache.fill(entry, token) is FillOutcome.STORED_WITHOUT_LEASE
    assert cache.take_effects().decided == [(K, entry)]
    assert cache.fill(make_entry(encoded=b"late"), lease.token) is FillOutcome.SUPERSEDED


def test_fill_after_expiry_of_its_lease(
    cache: ContentCache, clock: ManualClock, make_entry: MakeEntry
) -> None:
    """A fill under an expired lease is stored without it."""
    lease = lease_of(cache, K)
    clock.advance(30)
    cache.begin_turn()
    assert cache.fill(make_entry(), lease.token) is FillOutcome.STORED_WITHOUT_LEASE


def test_too_large_fill_releases_its_lease(cache: ContentCache, make_entry: MakeEntry) -> None:
    """A fill that can never fit frees the key for others."""
    lease = lease_of(cache, K)
    with pytest.raises(ServiceError, match="bytes of memory"):
        cache.fill(make_entry(encoded=b"x" * 20_000), lease.token)
    assert cache.take_effects().decided == [(K, None)]


def test_expired_lease_is_decided_at_the_next_turn(cache: ContentCache, clock: ManualClock) -> None:
    """A lease that ran out is lost at the turn that begins at its end, with nobody asking for its key."""
    lease_of(cache, K)
    assert cache.next_lease_alarm() == 30
    clock.advance(30)
    cache.begin_turn()
    assert cache.take_effects().decided == [(K, None)]
    assert cache.next_lease_alarm() is None


def test_delete_leaves_leases_alone(cache: ContentCache, make_entry: MakeEntry) -> None:
    """Removing what is not there says so and touches no lease."""
    lease = lease_of(cache, K)
    assert not cache.delete(K)
    assert cache.lease(K) == lease
    cache.set(make_entry("other"))
    assert cache.delete(Address("a", "other"))


def test_acquire_counts_and_hits(cache: ContentCache, make_entry: MakeEntry) -> None:
    """Acquire is a lookup: it counts hits, misses and the dollars saved."""
    lease_of(cache, K)
    cache.set(make_entry(cost=7))
    assert isinstance(cache.acquire(K, holder="h", epoch=0, ttl_s=30), Entry)
    counters = cache.counters("a")
    assert (counters.hits, counters.misses, counters.saved_micros) == (1, 1, 7)
    assert counters.hit_ratio == 0.5


def test_tenants_never_meet(cache: ContentCache, make_entry: MakeEntry) -> None:
    """Equal keys of two tenants are two entries and two leases; counts are kept apart."""
    cache.set(make_entry(tenant="a"))
    lease_of(cache, Address("b", "k"))
    assert cache.get(Address("b", "k")) is None
    assert not cache.delete(Address("b", "k"))
    assert cache.counters("a").entries == 1
    assert cache.counters("b").entries == 0
    assert (cache.active_leases("a"), cache.active_leases("b")) == (0, 1)


def test_restore_respects_limit_and_newer_content(cache: ContentCache, make_entry: MakeEntry) -> None:
    """What comes back from the durable tier replaces nobody, evicts nobody and is not written again."""
    newer = make_entry(encoded=b"newer")
    cache.set(newer)
    cache.take_effects()
    assert not cache.restore(make_entry(encoded=b"older"))
    assert not cache.restore(make_entry("big", encoded=b"x" * 9_500))
    assert not cache.restore(make_entry("gone", ttl_s=0))
    assert cache.restore(make_entry("fits"))
    assert cache.get(K) == newer
    assert not cache.take_effects()
