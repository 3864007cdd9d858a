"""What other policies would save: each runs beside the cache on the same sample of keys, without content.

Source: Waldspurger, Saemundsson, Ahmad, Park, "Cache Modeling and Optimization using Miniature Simulations",
USENIX ATC 2017: keys whose hash is below a threshold, in a cache as much smaller, behave as all keys in the
whole one. The policy in use has a shadow too, so that shadows are compared with a shadow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from content_cache.entry import Address, Entry
from content_cache.eviction import POLICIES, EvictionPolicy
from content_cache.sampling import PLACES, place_of


@dataclass(frozen=True, slots=True)
class _Known:
    """What a policy may know of a followed key."""

    address: Address
    size_bytes: int
    cost_micros: int


class Shadow:
    """One policy on the sample.

    Attributes:
        hits: Lookups it would have answered.
        saved_micros: What they would have cost.
    """

    __slots__ = ("_held", "_policy", "_size_bytes", "hits", "saved_micros")

    def __init__(self, policy: EvictionPolicy) -> None:
        self.hits = 0
        self.saved_micros = 0
        self._policy = policy
        self._held: dict[Address, _Known] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, address: Address) -> bool:
        return address in self._held

    def hit(self, known: _Known) -> bool:
        """Count a hit if the key is held; tell whether it is."""
        if known.address not in self._held:
            return False
        self.hits += 1
        self.saved_micros += known.cost_micros
        self._policy.used(known.address)
        return True

    def admit(self, known: _Known, capacity: float) -> None:
        """Let a key in, others leaving for it."""
        self.drop(known.address)
        if known.size_bytes > capacity:
            return
        self.shrink(capacity - known.size_bytes)
        self._held[known.address] = known
        self._size_bytes += known.size_bytes
        self._policy.added(known)

    def shrink(self, capacity: float) -> None:
        """Let keys leave until no more than so many bytes are taken."""
        while self._size_bytes > capacity:
            self.drop(self._policy.victim())

    def resize(self, known: _Known) -> None:
        """Hold a key in another size if it is held; as in the cache nobody's place changes."""
        before = self._held.get(known.address)
        if before is not None:
            self._held[known.address] = known
            self._size_bytes += known.size_bytes - before.size_bytes

    def drop(self, address: Address) -> None:
        """Forget a key, known or not."""
        known = self._held.pop(address, None)
        if known is not None:
            self._size_bytes -= known.size_bytes
            self._policy.removed(address)


class Shadows:
    """All policies on one sample.

    Attributes:
        lookups: Of followed keys.
        by_policy: The shadows by their policies' names.
    """

    __slots__ = ("_capacity", "_held", "_known", "_most_keys", "_threshold", "by_policy", "lookups")

    def __init__(
        self,
        *,
        rate: float,
        capacity: Callable[[], int],
        held: Callable[[Address], Entry | None],
        most_keys: int = 8192,
    ) -> None:
        """Begin with nothing.

        Args:
            rate: Part of all keys that is followed.
            capacity: Tells the cache's limit.
            held: Tells what it holds.
            most_keys: How many keys are followed; with more the rate falls.
        """
        self.lookups = 0
        self.by_policy: Mapping[str, Shadow] = {name: Shadow(make()) for name, make in POLICIES.items()}
        self._threshold = max(1, round(rate * PLACES))
        self._capacity = capacity
        self._held = held
        self._most_keys = most_keys
        self._known: dict[Address, _Known] = {}

    @property
    def rate(self) -> float:
        """Part of all keys that is followed now."""
        return self._threshold / PLACES

    def looked_up(self, address: Address) -> None:
        """Count a lookup of a followed key."""
        if place_of(address) >= self._threshold:
            return
        self.lookups += 1
        known = self._known.get(address)
        if known is None:
            return
        for each in self.by_policy.values():
            if not each.hit(known):
                each.admit(known, self._capacity() * self.rate)

    def stored(self, address: Address, size_bytes: int) -> None:
        """Let a followed key in wherever it is not."""
        if place_of(address) >= self._threshold:
            return
        entry = self._held(address)
        known = _Known(address, size_bytes, entry.cost_micros if entry else 0)
        before, self._known[address] = self._known.get(address), known
        capacity = self._capacity() * self.rate
        for each in self.by_policy.values():
            if before != known or address not in each:
                each.admit(known, capacity)
        if len(self._known) > self._most_keys:
            self._forget()

    def resized(self, address: Address, size_bytes: int) -> None:
        """Take note of a followed key's size; who has let it go has it no more for that."""
        known = self._known.get(address)
        if known is None:
            return
        self._known[address] = resized = replace(known, size_bytes=size_bytes)
        for each in self.by_policy.values():
            each.resize(resized)

    def dropped(self, address: Address) -> None:
        """Forget a key."""
        if self._known.pop(address, None) is not None:
            for each in self.by_policy.values():
                each.drop(address)

    def hit_ratio(self, policy: str) -> float:
        """Return the part of the sample's lookups a policy would have answered."""
        return self.by_policy[policy].hits / self.lookups if self.lookups else 0.0

    def _forget(self) -> None:
        """Keep what some shadow holds; if that is too much, follow fewer keys."""
        shadows = self.by_policy.values()
        self._known = {
            address: known
            for address, known in self._known.items()
            if any(address in shadow for shadow in shadows)
        }
        if 4 * len(self._known) > 3 * self._most_keys:
            self._lower()

    def _lower(self) -> None:
        self._threshold //= 2
        for address in [each for each in self._known if place_of(each) >= self._threshold]:
            self.dropped(address)
        capacity = self._capacity() * self.rate
        for each in self.by_policy.values():
            each.shrink(capacity)
