"""Many lookups in one step come to what the same lookups come to one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import POLICIES, make_policy
from content_cache.sampling import PARTS, is_among
from hypothesis import given
from hypothesis import strategies as st
from service_common.clock import ManualClock

KEYS = [f"k{number}" for number in range(8)]
SIZES = {"k6": 70_000, "k7": 80_000}
"""Two giants."""


class Listener:
    """Remembers which keys were looked up; follows half of them."""

    followed_parts = PARTS // 2

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.followed: list[str] = []

    def looked_up(self, address: Address) -> None:
        """Note one."""
        self.looked_up_all([address], [address] if is_among(address, self.followed_parts) else [])

    def looked_up_all(self, addresses: Iterable[Address], followed: Iterable[Address]) -> None:
        """Note many, each the tuple of a tenant and a key."""
        self.keys += [key for _, key in addresses]
        self.followed += [key for _, key in followed]

    def stored(self, address: Address, size_bytes: int) -> None:
        """Note nothing."""

    def resized(self, address: Address, size_bytes: int) -> None:
        """Note nothing."""

    def dropped(self, address: Address) -> None:
        """Note nothing."""


def filled(policy: str, ttls: dict[str, int], clock: ManualClock) -> tuple[ContentCache, Listener]:
    """Make a cache with an entry under each key that has a time to live."""
    listener = Listener()
    cache = ContentCache(
        max_bytes=400_000, policy=make_policy(policy), clock=clock, new_token=str, listener=listener
    )
    now = clock.now()
    for key, ttl_s in ttls.items():
        encoded, expire_time = bytes(SIZES.get(key, 100)), now + timedelta(seconds=ttl_s)
        cache.set(Entry(Address("a", key), encoded, 7, now, expire_time, stale_s=ttl_s % 3 * 10))
    return cache, listener


def leave_in_order(cache: ContentCache) -> list[str]:
    """Return the keys in the order in which they make room, giants among themselves first."""
    order = [address.key for address in cache._giants._sizes]
    while len(cache):
        victim = cache._policy.victim()
        order.append(victim.key)
        cache.delete(victim)
    return order


@given(
    st.sampled_from(sorted(POLICIES)),
    st.dictionaries(st.sampled_from(KEYS), st.integers(1, 20)),
    st.lists(st.lists(st.sampled_from([*KEYS, "none"])), max_size=4),
    st.integers(0, 30),
)
def test_many_are_as_one_after_the_other(
    policy: str, ttls: dict[str, int], batches: list[list[str]], seconds: int
) -> None:
    """Entries, counts, what has expired, what the listener hears and the order of leaving are the same."""
    clock = ManualClock()
    (together, heard), (apart, expected) = (filled(policy, ttls, clock) for _ in range(2))
    clock.advance(seconds)
    for batch in batches:
        for cache in (together, apart):
            cache.begin_turn()
        assert together.get_many("a", batch) == [apart.get(Address("a", key)) for key in batch]
    assert together.counters("a") == apart.counters("a")
    assert together.take_effects() == apart.take_effects()
    assert (heard.keys, heard.followed) == (expected.keys, expected.followed)
    assert leave_in_order(together) == leave_in_order(apart)
