"""Entries that leave before all others, whatever the policy says: what nobody is likely to ask for again."""

from __future__ import annotations

from collections import OrderedDict

from content_cache.entry import Address
from content_cache.eviction import EvictionPolicy
from content_cache.eviction.policy import Evictable


class LeaveFirst:
    """An eviction policy over another: marked entries go first, in the order they were marked.

    Attributes:
        extra_bytes: As the policy below.
        used: As the policy below.
        used_all: As the policy below.
    """

    __slots__ = ("_marked", "_policy", "extra_bytes", "used", "used_all")

    def __init__(self, policy: EvictionPolicy) -> None:
        self._policy = policy
        self.extra_bytes = policy.extra_bytes
        self._marked: OrderedDict[Address, None] = OrderedDict()
        # A hit, the most frequent call, goes straight through: a mark stays.
        self.used, self.used_all = policy.used, policy.used_all

    def added(self, entry: Evictable) -> None:
        """As the policy below."""
        self._policy.added(entry)

    def removed(self, address: Address) -> None:
        """Forget it, and its mark."""
        self._policy.removed(address)
        self._marked.pop(address, None)

    def mark(self, address: Address) -> bool:
        """Let a known entry leave before the others; tell whether it was not marked yet."""
        if address in self._marked:
            return False
        self._marked[address] = None
        return True

    def victim(self) -> Address:
        """Return the one marked first, else whom the policy below names."""
        for address in self._marked:
            return address
        return self._policy.victim()
