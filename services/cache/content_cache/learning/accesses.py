"""What is asked for, told to all who learn from it, at little more than the cost of writing it down.

A lookup is only noted. When `_FOLD` of them wait, or something is stored or asked that depends on them, those
who learn catch up: of a sample of keys, as SHARDS takes it, each lookup counts as a use, and of a smaller one
is shown to the curve and the shadows; of all keys every fourth lookup is taken in as heat, in C.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from content_cache.entry import Address, Entry
from content_cache.learning.heat import Heat
from content_cache.learning.miss_ratio_curve import MissRatioCurve
from content_cache.learning.shadows import Shadows
from content_cache.learning.use_sample import UseSample
from content_cache.sampling import PARTS, PLACES, is_among, place_of

MODELLED_PARTS: Final = 1
"""Of `PARTS`: the keys that the curve and the shadow policies follow, what a lookup can afford."""

_FOLLOWED_PARTS: Final = PARTS // 4
_FOLD: Final = 2048
_THINNED: Final = 4
_WINDOW_FOLDS: Final = 32


class Accesses:
    """Listens to a cache.

    Attributes:
        followed_parts: The keys of so many parts of all `PARTS` are followed lookup by lookup.
        heat: What was used last.
        stored_count: Entries stored so far, those loaded included.
    """

    __slots__ = (
        "_curve",
        "_followed",
        "_modelled_parts",
        "_offset",
        "_recent",
        "_shadows",
        "_uses",
        "_window",
        "followed_parts",
        "heat",
        "stored_count",
    )

    def __init__(
        self,
        *,
        capacity: Callable[[], int],
        held: Callable[[Address], Entry | None],
        modelled_parts: int = MODELLED_PARTS,
        most_heat: int | None = None,
    ) -> None:
        """Begin to listen.

        Args:
            capacity: Tells the cache's limit.
            held: Tells what it holds.
            modelled_parts: The keys of so many parts are shown to the curve and the shadows.
            most_heat: How many keys' heat is remembered; None: the usual number.
        """
        rate = modelled_parts / PARTS
        self._modelled_parts = modelled_parts
        self.followed_parts = max(modelled_parts, _FOLLOWED_PARTS)
        self._curve = MissRatioCurve(rate=rate)
        self._shadows = Shadows(rate=rate, capacity=capacity, held=held)
        self.heat = Heat() if most_heat is None else Heat(most_heat)
        self._uses = UseSample(held, threshold=self.followed_parts * PLACES // PARTS)
        self.stored_count = 0
        self._window: deque[list[Address]] = deque(maxlen=_WINDOW_FOLDS)
        self._recent: list[Address] = []
        self._followed: list[Address] = []
        self._offset = 0

    @property
    def curve(self) -> MissRatioCurve:
        """What other limits would give."""
        self.catch_up()
        return self._curve

    @property
    def shadows(self) -> Shadows:
        """What other policies would give."""
        self.catch_up()
        return self._shadows

    @property
    def uses(self) -> UseSample:
        """Which entries are used at all."""
        self.catch_up()
        return self._uses

    def looked_up(self, address: Address) -> None:
        """A caller asked for it."""
        if is_among(address, self.followed_parts):
            self._followed.append(address)
        self._curve.lookups += 1
        recent = self._recent
        recent.append(address)
        if len(recent) >= _FOLD:
            self._thin_out()

    def looked_up_all(self, addresses: Sequence[Address], followed: Sequence[Address]) -> None:
        """Callers asked for them, in this order; `followed` are those that are followed."""
        self._followed += followed
        self._curve.lookups += len(addresses)
        recent = self._recent
        recent += addresses
        if len(recent) >= _FOLD:
            self._thin_out()

    def catch_up(self) -> None:
        """Show those who follow keys what was looked up since the last time."""
        if not self._followed:
            return
        curve, used, modelled_parts = self._curve, self._uses.counts, self._modelled_parts
        for address in self._followed:
            if address in used:
                used[address] += 1
            if hash(address[1]) % PARTS < modelled_parts:  # `is_among`, without its call
                curve.follow(address)
                self._shadows.looked_up(address)
        self._followed.clear()

    def stored(self, address: Address, size_bytes: int) -> None:
        """An entry was stored, perhaps in another's place."""
        self.stored_count += 1
        if not is_among(address, self.followed_parts):
            return
        self.catch_up()
        if is_among(address, self._modelled_parts):
            self._curve.stored(address, size_bytes)
            self._shadows.stored(address, size_bytes)
        if place_of(address) < self._uses.threshold:
            self._uses.stored(address)

    def resized(self, address: Address, size_bytes: int) -> None:
        """Its entry takes more or less than before; nothing was stored."""
        if is_among(address, self._modelled_parts):
            self.curve.resized(address, size_bytes)
            self._shadows.resized(address, size_bytes)

    def dropped(self, address: Address) -> None:
        """Its entry would be gone in a cache of any size."""
        if is_among(address, self._modelled_parts):
            self.curve.dropped(address)
            self._shadows.dropped(address)

    def fold(self) -> None:
        """Take in all that was noted and waits."""
        self.catch_up()
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

    def _thin_out(self) -> None:
        """Many come: every fourth is enough, another one each time, to tell what is in demand."""
        self.catch_up()
        self._take_in(self._recent[self._offset :: _THINNED])
        self._offset = (self._offset + 1) % _THINNED
        self._recent.clear()

    def _take_in(self, recent: list[Address]) -> None:
        self.heat.followed(recent)
        self._window.append(recent)
