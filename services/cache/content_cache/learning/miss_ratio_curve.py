"""What a bigger or smaller limit would give: the hit ratio of LRU at any size, from a sample of the keys.

Source: Waldspurger, Park, Garthwaite, Ahmad, "Efficient MRC Construction with SHARDS", FAST 2015: keys whose
hash is below a threshold are followed, each standing for `1/rate` keys; where more are followed than memory
is for, the threshold falls (fixed size). The difference between expected and actual lookups is added at the
smallest size (SHARDS_adj). Sizes are bytes: a lookup hits in every cache that has room for what was used
since, the key's own entry included.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import log2
from typing import Final

from content_cache.entry import Address
from content_cache.learning.recency_stack import RecencyStack
from content_cache.sampling import PLACES, place_of

_PER_DOUBLING: Final = 16
_SIZES: Final = 64 * _PER_DOUBLING


class MissRatioCurve:
    """An estimate that takes bounded memory.

    Attributes:
        lookups: Lookups seen, sampled or not.

    Args:
        max_samples: Most keys followed.
        rate: Part of all keys followed until there are that many.
        place_of: Spreads keys evenly over `PLACES`.
    """

    __slots__ = (
        "_expected",
        "_hits",
        "_max_samples",
        "_order",
        "_place_of",
        "_serial",
        "_stack",
        "_threshold",
        "lookups",
    )

    def __init__(
        self, *, max_samples: int = 8192, rate: float = 1.0, place_of: Callable[[Address], int] = place_of
    ) -> None:
        self.lookups = 0
        self._max_samples = max_samples
        self._threshold = max(1, round(rate * PLACES))
        self._place_of = place_of
        self._stack: RecencyStack = RecencyStack(max_samples + 1)
        self._order: list[tuple[int, int, Address]] = []
        self._serial = 0
        self._hits = [0.0] * _SIZES
        self._expected = 0.0

    @property
    def rate(self) -> float:
        """Part of all keys that is followed now."""
        return self._threshold / PLACES

    def looked_up(self, address: Address) -> None:
        """Count a lookup, and follow its key."""
        self.lookups += 1
        self.follow(address)

    def follow(self, address: Address) -> None:
        """Learn of a lookup that counts: if its key is followed and known, at which sizes it hits."""
        if self._place_of(address) >= self._threshold:
            return
        stands_for = PLACES / self._threshold
        self._expected += stands_for
        if address in self._stack:
            since, own = self._stack.touch(address)
            size = since * stands_for + own
            self._hits[min(int(log2(size) * _PER_DOUBLING), _SIZES - 1) if size > 1 else 0] += stands_for

    def stored(self, address: Address, size_bytes: int) -> None:
        """Take note of a followed key's size."""
        place = self._place_of(address)
        if place >= self._threshold:
            return
        if address not in self._stack:
            self._serial += 1
            heappush(self._order, (-place, self._serial, address))
        self._stack.put(address, size_bytes)
        if len(self._stack) > self._max_samples:
            self._lower()
        if len(self._order) > 2 * self._max_samples:
            self._order = [each for each in self._order if each[2] in self._stack]
            heapify(self._order)

    def resized(self, address: Address, size_bytes: int) -> None:
        """Take note of a followed key's size, its place being what it was."""
        if address in self._stack:
            self._stack.resize(address, size_bytes)

    def dropped(self, address: Address) -> None:
        """Forget a key: its next lookup misses at every size."""
        if self._place_of(address) < self._threshold:
            self._stack.drop(address)

    def hit_ratio(self, max_bytes: float) -> float:
        """Return the part of lookups that hits with room for so many bytes; 0 before the first lookup."""
        if not self.lookups:
            return 0.0
        position = log2(max_bytes) * _PER_DOUBLING if max_bytes > 1 else 0.0
        whole = min(int(position), _SIZES - 1)
        hits = sum(self._hits[:whole]) + self._hits[whole] * (position - whole)
        hits += self.lookups - self._expected
        return min(max(hits / self.lookups, 0.0), 1.0)

    def _lower(self) -> None:
        self._threshold = -self._order[0][0]
        while self._order and -self._order[0][0] >= self._threshold:
            self._stack.drop(heappop(self._order)[2])
