"""SIEVE: a queue in the order of arrival, and a hand that spares whoever was used since it last came by.

Source: Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is Simpler than LRU", NSDI 2024, algorithm 1. A hit sets
one bit and moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import cast

from content_cache.entry import Address
from content_cache.eviction.policy import Evictable
from content_cache.eviction.queue import Member
from content_cache.eviction.table import Table

MOST_SPARED = 10_000
"""Keys the hand passes at most in one search, about two milliseconds; then the next leaves, used or not.

The paper has no such limit: a hand that finds all of a million keys used would pass all of them at once.
"""

EXTRA_BYTES = 0


class _Arrival(Member):
    """An address with its mark."""

    __slots__ = ("visited",)

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.visited = False


class Sieve:
    """Entries in the order of arrival, those used meanwhile marked."""

    __slots__ = ("_ends", "_hand", "_members", "extra_bytes")

    def __init__(self) -> None:
        self.extra_bytes = EXTRA_BYTES
        self._members: Table[_Arrival] = Table()
        self._ends = Member()
        self._hand = self._ends

    def added(self, entry: Evictable) -> None:
        """Let it join as the newest, not yet used."""
        member = self._members[entry.address] = _Arrival(entry.address)
        member.join(self._ends)

    def used(self, address: Address) -> None:
        """Mark it."""
        self._members[address].visited = True

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Mark them."""
        for address in addresses:
            self.used(address)

    def removed(self, address: Address) -> None:
        """Forget it; a hand that pointed at it goes on to the next newer one."""
        member = self._members.pop(address)
        if self._hand is member:
            self._hand = member.newer
        member.leave()

    def victim(self) -> Address:
        """Return the first unmarked entry from the hand towards the newest, then again from the oldest.

        Those passed lose their mark.
        """
        ends = self._ends
        if ends.newer is ends:
            raise LookupError("there is no entry")
        hand = self._hand
        for spared in count():
            if hand is ends:
                hand = hand.newer
            member = cast("_Arrival", hand)
            leaves = not member.visited or spared == MOST_SPARED
            member.visited = False
            if leaves:
                break
            hand = member.newer
        self._hand = hand
        return hand.address
