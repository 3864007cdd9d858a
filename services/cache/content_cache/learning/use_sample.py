"""Whether entries are used at all: a sample of keys, each with how often it was used since it was stored.

Fixed size, as SHARDS (Waldspurger et al., FAST 2015): when more keys are followed than memory is for, those
with the higher hashes are let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from content_cache.entry import Address, Entry
from content_cache.sampling import PLACES, place_of


@dataclass(slots=True)
class TagUse:
    """What a label's entries take, scaled up from the sample.

    Attributes:
        tag: The label.
        sampled: Entries of the sample that have it.
        entries: How many there are, about.
        size_bytes: What they take, about.
        unused_bytes: What of it was never used.
    """

    tag: str
    sampled: int = 0
    entries: float = 0
    size_bytes: float = 0
    unused_bytes: float = 0


class UseSample:
    """Uses by key.

    Attributes:
        counts: How often each followed key was used since it was stored; who hears of lookups adds to it.
        threshold: Keys whose place is below it are followed; the caller minds it.

    Args:
        held: Tells what the cache holds.
        most_keys: How many keys are followed.
        threshold: What it begins with.
    """

    __slots__ = ("_held", "_most_keys", "counts", "threshold")

    def __init__(
        self,
        held: Callable[[Address], Entry | None],
        *,
        most_keys: int = 8192,
        threshold: int = PLACES,
    ) -> None:
        self.threshold = threshold
        self._held = held
        self._most_keys = most_keys
        self.counts: dict[Address, int] = {}

    def __len__(self) -> int:
        return len(self.counts)

    def stored(self, address: Address) -> None:
        """Begin to count."""
        self.counts[address] = 0
        if len(self.counts) > self._most_keys:
            self._keep(lambda each: self._held(each) is not None)
            if 4 * len(self.counts) > 3 * self._most_keys:
                self._lower()

    def keys_of(self, tenant: str) -> Iterator[Address]:
        """Yield a tenant's followed keys, those stored last first."""
        return (address for address in reversed(self.counts) if address.tenant == tenant)

    def by_tag(self, tenant: str) -> list[TagUse]:
        """Return a tenant's labels, those first whose entries take most without being used.

        What is not held any more is forgotten on the way.
        """
        found: dict[str, TagUse] = {}
        for address, uses in list(self.counts.items()):
            entry = self._held(address)
            if entry is None:
                del self.counts[address]
            elif address.tenant == tenant:
                self._add(found, entry, uses)
        return sorted(found.values(), key=lambda each: (-each.unused_bytes, each.tag))

    def _add(self, found: dict[str, TagUse], entry: Entry, uses: int) -> None:
        stands_for = PLACES / self.threshold
        for tag in entry.tags:
            use = found.setdefault(tag, TagUse(tag))
            use.sampled += 1
            use.entries += stands_for
            use.size_bytes += stands_for * entry.size_bytes
            use.unused_bytes += 0 if uses else stands_for * entry.size_bytes

    def _lower(self) -> None:
        self.threshold //= 2
        self._keep(lambda each: place_of(each) < self.threshold)

    def _keep(self, wanted: Callable[[Address], bool]) -> None:
        for each in [each for each in self.counts if not wanted(each)]:
            del self.counts[each]
