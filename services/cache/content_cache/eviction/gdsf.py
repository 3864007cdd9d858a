"""GDSF: what saves least per byte leaves first, `H = L + frequency · cost / stored bytes`.

Sources: Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP
Labs 1998, for H and the rising L; Ghandeharizadeh et al., CAMP, Middleware 2014 (arXiv 2411.01246), for
queues of rounded ratios. Keys of one rounded ratio are in one queue, in the order of use; as L never falls,
the oldest of a queue has its least H. A hit moves a key between two queues, and a heap of queues finds the
least H of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush, heapreplace
from typing import cast

from content_cache.entry import Address
from content_cache.eviction.policy import Evictable
from content_cache.eviction.queue import Member
from content_cache.eviction.table import Table

PRECISION_BITS = 5
"""Leading bits of a ratio that count. It is rounded down by less than `2 ** (1 - PRECISION_BITS)` of itself;
a victim's H is at most that much above the least. There are at most 16 queues per power of two."""

EXTRA_BYTES = 96
_SCALE_BITS = 24
"""Ratios are micros per 16 MiB: whole numbers for every entry there is."""


class _Ranked(Member):
    """An address with its worth.

    Attributes:
        worth: Scaled cost per byte.
        frequency: How often it was used, being stored included.
        priority: H, as of its last use.
    """

    __slots__ = ("frequency", "priority", "worth")

    def __init__(self, address: Address, worth: int) -> None:
        super().__init__(address)
        self.worth = worth
        self.frequency = 1
        self.priority = 0


class Gdsf:
    """Entries in queues of equal rounded ratio.

    A cost of nothing counts as one micro, so that among entries without a cost the small and often used stay.
    """

    __slots__ = ("_heap", "_inflation", "_members", "_queues", "extra_bytes")

    def __init__(self) -> None:
        self.extra_bytes = EXTRA_BYTES
        self._members: Table[_Ranked] = Table()
        self._queues: dict[int, Member] = {}
        # One pair (H, ratio) per queue; H is that of its oldest, or an earlier and so a lesser one.
        self._heap: list[tuple[int, int]] = []
        self._inflation = 0

    def added(self, entry: Evictable) -> None:
        """Rank it by what it would cost again per byte, used once."""
        worth = (max(entry.cost_micros, 1) << _SCALE_BITS) // max(entry.size_bytes, 1)
        member = self._members[entry.address] = _Ranked(entry.address, worth)
        self._rank(member)

    def used(self, address: Address) -> None:
        """Rank it anew, used once more."""
        member = self._members[address]
        member.frequency += 1
        member.leave()
        self._rank(member)

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Rank them anew."""
        for address in addresses:
            self.used(address)

    def removed(self, address: Address) -> None:
        """Forget it."""
        self._members.pop(address).leave()

    def victim(self) -> Address:
        """Return one with the least H, and let L rise to that."""
        heap = self._heap
        while heap:
            priority, ratio = heap[0]
            sentinel = self._queues[ratio]
            oldest = sentinel.newer
            if oldest is sentinel:
                heappop(heap)
                del self._queues[ratio]
                continue
            least = cast("_Ranked", oldest).priority
            if least == priority:
                self._inflation = least
                return oldest.address
            heapreplace(heap, (least, ratio))
        raise LookupError("there is no entry")

    def _rank(self, member: _Ranked) -> None:
        ratio = rounded(member.frequency * member.worth)
        member.priority = priority = self._inflation + ratio
        sentinel = self._queues.get(ratio)
        if sentinel is None:
            sentinel = self._queues[ratio] = Member()
            heappush(self._heap, (priority, ratio))
        member.join(sentinel)


def rounded(ratio: int) -> int:
    """Return a ratio with only its leading bits."""
    shift = ratio.bit_length() - PRECISION_BITS
    return ratio >> shift << shift if shift > 0 else ratio
