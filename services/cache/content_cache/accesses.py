"""What is asked for, told to all who learn from it, at little more than the cost of writing it down.

A lookup is noted; when `_FOLD` of them wait, every fourth is taken in, in C. Only keys whose hash is below a
threshold are shown to the followers that look at each lookup, as SHARDS does.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from content_cache.entry import Address, Entry
from content_cache.heat import Heat
from content_cache.miss_ratio_curve import MissRatioCurve
from content_cache.shadows import Shadows
from content_cache.use_sample import UseSample

FOLLOWED: Final = 1 / 64
"""Part of all keys that the curve and the shadow policies follow: what a lookup can afford."""

_HASHES: Final = 1 << 24
_LOW_BITS: Final = _HASHES - 1
_FOLD: Final = 2048
_THINNED: Final = 4
_WINDOW_FOLDS: Final = 32


class Accesses:
    """Listens to a cache.

    Attributes:
        curve: What other limits would give.
        shadows: What other policies would.
        heat: What was used last.
        uses: Which entries are used at all.
        stored_count: Entries stored so far, those loaded included.
    """

    __slots__ = (
        "_followed",
        "_offset",
        "_recent",
        "_sampled",
        "_used",
        "_window",
        "curve",
        "heat",
        "shadows",
        "stored_count",
        "uses",
    )

    def __init__(
        self,
        *,
        capacity: Callable[[], int],
        held: Callable[[Address], Entry | None],
        followed: float = FOLLOWED,
        most_heat: int | None = None,
    ) -> None:
        """Begin to listen.

        Args:
            capacity: Tells the cache's limit.
            held: Tells what it holds.
            followed: Part of all keys that is followed lookup by lookup.
            most_heat: How many keys' heat is remembered; None: the usual number.
        """
        self._followed = round(followed * _HASHES)
        self.curve = MissRatioCurve(rate=followed)
        self.shadows = Shadows(rate=followed, capacity=capacity, held=held)
        self.heat = Heat() if most_heat is None else Heat(most_heat)
        self._sampled = max(self._followed, _HASHES // 4)
        self.uses = UseSample(held, threshold=self._sampled)
        self._used = self.uses.counts
        self.stored_count = 0
        self._window: deque[list[Address]] = deque(maxlen=_WINDOW_FOLDS)
        self._recent: list[Address] = []
        self._offset = 0

    def looked_up(self, address: Address) -> None:
        """A caller asked for it."""
        recent = self._recent
        recent.append(address)
        if len(recent) >= _FOLD:
            # Many come: every fourth is enough, another one each time, to tell what is in demand.
            self._take_in(recent[self._offset :: _THINNED])
            self._offset = (self._offset + 1) % _THINNED
            recent.clear()
        place = hash(address) & _LOW_BITS
        if place < self._sampled:
            if address in self._used:
                self._used[address] += 1
            if place < self._followed:
                self.curve.looked_up(address)
                self.shadows.looked_up(address)
                return
        self.curve.lookups += 1

    def looked_up_all(self, addresses: Sequence[Address]) -> None:
        """Callers asked for them, in this order."""
        recent = self._recent
        recent += addresses
        if len(recent) >= _FOLD:
            self._take_in(recent[self._offset :: _THINNED])
            self._offset = (self._offset + 1) % _THINNED
            recent.clear()
        sampled, followed, used = self._sampled, self._followed, self._used
        self.curve.lookups += len(addresses)
        for address in [each for each in addresses if hash(each) & _LOW_BITS < sampled]:
            if address in used:
                used[address] += 1
            if hash(address) & _LOW_BITS < followed:
                self.curve.lookups -= 1  # it counts for itself
                self.curve.looked_up(address)
                self.shadows.looked_up(address)

    def stored(self, address: Address, size_bytes: int) -> None:
        """An entry was stored, perhaps in another's place."""
        self.stored_count += 1
        place = hash(address) & _LOW_BITS
        if place < self._followed:
            self.curve.stored(address, size_bytes)
            self.shadows.stored(address, size_bytes)
        if place < self.uses.threshold:
            self.uses.stored(address)

    def resized(self, address: Address, size_bytes: int) -> None:
        """Its entry takes more or less than before; nothing was stored."""
        if hash(address) & _LOW_BITS < self._followed:
            self.curve.resized(address, size_bytes)
            self.shadows.resized(address, size_bytes)

    def dropped(self, address: Address) -> None:
        """Its entry would be gone in a cache of any size."""
        if hash(address) & _LOW_BITS < self._followed:
            self.curve.dropped(address)
            self.shadows.dropped(address)

    def fold(self) -> None:
        """Take in what was noted and waits."""
        if self._recent:
            self._take_in(self._recent.copy())
            self._recent.clear()

    def hottest(self) -> tuple[Address, float, int] | None:
        """Return the key asked for most of late, its part of the lookups, and how many those were."""
        self.fold()
        counts = Counter(chain.from_iterable(self._window))
        total = counts.total()
        for address, times in counts.most_common(1):
            return Address(*address), times / total, total
        return None

    def _take_in(self, recent: list[Address]) -> None:
        self.heat.followed(recent)
        self._window.append(recent)
