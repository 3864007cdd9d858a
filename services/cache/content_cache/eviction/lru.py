"""LRU: the one not used for the longest time leaves first."""

from __future__ import annotations

from collections.abc import Iterable

from content_cache.entry import Address
from content_cache.eviction.policy import Evictable
from content_cache.eviction.queue import Member
from content_cache.table import PARTS, Table


class Lru:
    """Entries in the order of their last use."""

    __slots__ = ("_ends", "_members", "extra_bytes")

    def __init__(self) -> None:
        self.extra_bytes = 0
        self._members: Table[Member] = Table()
        self._ends = Member()

    def added(self, entry: Evictable) -> None:
        """Count it as used just now."""
        member = self._members[entry.address] = Member(entry.address)
        member.join(self._ends)

    def used(self, address: Address) -> None:
        """Make it the most recent."""
        self._members.parts[hash(address) % PARTS][address].renew(self._ends)

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Make them the most recent, the last of them most: `Member.renew` for each, without the calls."""
        parts, ends = self._members.parts, self._ends
        for address in addresses:
            member = parts[hash(address) % PARTS][address]
            newer, older, newest = member.newer, member.older, ends.older
            if newer is ends:
                continue
            older.newer = newer
            newer.older = older
            member.older = newest
            member.newer = ends
            newest.newer = ends.older = member

    def removed(self, address: Address) -> None:
        """Forget it."""
        self._members.pop(address).leave()

    def victim(self) -> Address:
        """Return the one not used for the longest time."""
        oldest = self._ends.newer
        if oldest is self._ends:
            raise LookupError("there is no entry")
        return oldest.address
