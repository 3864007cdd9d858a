"""LRU: the one not used for the longest time leaves first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from content_cache.entry import Address
from content_cache.eviction.policy import Evictable
from content_cache.eviction.queue import Member
from content_cache.eviction.table import Table
from content_cache.sampling import PARTS

_MOST_UNORDERED: Final = 2048
"""Uses that may wait to be put in order: half a millisecond's work at most."""


class Lru:
    """Entries in the order of their last use.

    A use is only noted. The order is made when somebody comes, goes or has to: of a key used many times since
    then, only the last time counts.
    """

    __slots__ = ("_ends", "_members", "_used", "extra_bytes")

    def __init__(self) -> None:
        self.extra_bytes = 0
        self._members: Table[Member] = Table()
        self._ends = Member()
        self._used: list[Address] = []

    def added(self, entry: Evictable) -> None:
        """Count it as used just now."""
        if self._used:
            self._put_in_order()
        member = self._members[entry.address] = Member(entry.address)
        member.join(self._ends)

    def used(self, address: Address) -> None:
        """Make it the most recent."""
        used = self._used
        used.append(address)
        if len(used) >= _MOST_UNORDERED:
            self._put_in_order()

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Make them the most recent, the last of them most."""
        used = self._used
        used += addresses
        if len(used) >= _MOST_UNORDERED:
            self._put_in_order()

    def removed(self, address: Address) -> None:
        """Forget it."""
        if self._used:
            self._put_in_order()
        self._members.pop(address).leave()

    def victim(self) -> Address:
        """Return the one not used for the longest time."""
        if self._used:
            self._put_in_order()
        oldest = self._ends.newer
        if oldest is self._ends:
            raise LookupError("there is no entry")
        return oldest.address

    def _put_in_order(self) -> None:
        """Make what was used the most recent: `Member.renew` for each, without the calls."""
        parts, ends = self._members.parts, self._ends
        last_uses = dict.fromkeys(reversed(self._used))
        self._used.clear()
        for address in reversed(last_uses):
            member = parts[hash(address) % PARTS][address]
            newer, older, newest = member.newer, member.older, ends.older
            if newer is ends:
                continue
            older.newer = newer
            newer.older = older
            member.older = newest
            member.newer = ends
            newest.newer = ends.older = member
