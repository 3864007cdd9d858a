"""What happens when the limit moves, when giants come, and when many expire at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Gdsf, Lru
from content_cache.holding.expiry import BUCKET_S, ExpiryIndex
from content_cache.holding.giants import Giants
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]

MIB = 1024 * 1024


def a_cache(clock: ManualClock, max_bytes: int, *, extra_bytes: int = 0) -> ContentCache:
    """Make a cache of so many bytes."""
    return ContentCache(
        max_bytes=max_bytes, policy=Lru(), clock=clock, new_token=str, extra_bytes=extra_bytes
    )


def test_a_lower_limit_is_reached_in_steps_and_never_by_a_call(
    clock: ManualClock, make_entry: MakeEntry
) -> None:
    """Nothing leaves at once; a set makes room for itself alone; `shrink` evicts as many as it may."""
    cache = a_cache(clock, 100_000)
    for number in range(100):
        cache.set(make_entry(f"k{number:02}"))
    size = cache.size_bytes
    cache.resize(size // 2)
    assert (len(cache), cache.size_bytes) == (100, size)
    cache.set(make_entry("new"))
    assert (len(cache), cache.size_bytes) == (100, size)
    assert cache.peek(Address("a", "k00")) is None
    assert cache.shrink(10) == 10
    assert len(cache) == 90
    while cache.shrink(10) == 10:
        assert cache.size_bytes > 0
    assert size // 2 - make_entry("k00").size_bytes < cache.size_bytes <= size // 2
    assert cache.peek(Address("a", "new")) is not None
    assert cache.shrink(10) == 0
    cache.resize(100_000)
    cache.set(make_entry("more"))
    assert len(cache) == 51


def test_what_others_hold_for_an_entry_is_accounted(clock: ManualClock, make_entry: MakeEntry) -> None:
    """The policy's and the directory's bytes are part of an entry's, going in and out."""
    plain, ranked = (
        a_cache(clock, MIB),
        ContentCache(max_bytes=MIB, policy=Gdsf(), clock=clock, new_token=str, extra_bytes=300),
    )
    entry = make_entry()
    for cache in (plain, ranked):
        cache.set(entry)
    assert ranked.size_bytes == plain.size_bytes + Gdsf().extra_bytes + 300 == ranked.bytes_of(entry)
    ranked.delete(entry.address)
    assert ranked.size_bytes == ranked.counters("a").size_bytes == 0


def test_giants_displace_giants(clock: ManualClock, make_entry: MakeEntry) -> None:
    """A hundred large entries that come once cost the small ones no more than a quarter of the limit."""
    cache = a_cache(clock, 4 * MIB)
    small = [make_entry(f"s{number}", encoded=bytes(10_000)) for number in range(390)]
    for entry in small:
        cache.set(entry)
    for number in range(100):
        cache.set(make_entry(f"g{number}", encoded=bytes(300_000)))
    kept = [entry for entry in small if cache.peek(entry.address)]
    assert sum(entry.size_bytes for entry in kept) >= 3 * MIB - 300_000
    assert cache.peek(Address("a", "g99")) is not None
    assert cache.peek(Address("a", "g0")) is None


def test_giants_may_use_free_room(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Without need nobody leaves: giants fill an empty cache; the policy then decides for small ones."""
    cache = a_cache(clock, 4 * MIB)
    for number in range(13):
        cache.set(make_entry(f"g{number}", encoded=bytes(300_000)))
    assert len(cache) == 13
    for number in range(200):
        cache.set(make_entry(f"s{number}", encoded=bytes(10_000)))
    assert cache.peek(Address("a", "s0")) is not None


def test_a_used_giant_outlives_an_unused_one(clock: ManualClock, make_entry: MakeEntry) -> None:
    """Among giants, too, the least recently used leaves; one alone may exceed the quarter."""
    giants = Giants(MIB)
    first, second = Address("a", "1"), Address("a", "2")
    giants.added(first, 100_000)
    giants.added(second, 100_000)
    giants.used(first)
    assert giants.displaced(100_000) == second
    assert giants.displaced(10_000) is None
    giants.removed(second)
    giants.removed(first)
    assert len(giants) == 0
    assert giants.displaced(900_000) is None
    cache = a_cache(clock, MIB)
    cache.set(make_entry(encoded=bytes(900_000)))
    assert len(cache) == 1


def test_small_caches_have_no_giants() -> None:
    """What takes less than 64 KiB never is one."""
    assert Giants(10_000).above_bytes == 64 * 1024


def test_many_entries_of_one_moment_expire_each_once(clock: ManualClock) -> None:
    """Forty thousand entries of one bucket, a part of them gone before, are found in slices, each once."""
    index = ExpiryIndex()
    end = clock.now() + timedelta(seconds=10)
    entries = [Entry(Address("a", str(number)), b"", 0, clock.now(), end) for number in range(40_000)]
    for entry in entries:
        index.add(entry)
    for entry in entries[::4]:
        index.discard(entry)
    assert max(len(part) for bucket in index._buckets.values() for part in bucket) < 16_384
    clock.advance(10 + BUCKET_S)
    found: list[Address] = []
    while due := index.take_due(clock.now(), 700):
        assert len(due) <= 700
        found += due
    assert sorted(found) == sorted({entry.address for entry in entries} - {e.address for e in entries[::4]})
    assert not index._buckets
