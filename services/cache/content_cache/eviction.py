"""Who leaves when memory is full: one small interface, so that policies differ and nothing else must know."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from content_cache.entry import Address, Entry


class EvictionPolicy(Protocol):
    """An order of leaving over the entries it was told of; every call is O(1)."""

    def added(self, entry: Entry) -> None:
        """Take note of an entry whose address it does not know."""
        ...

    def used(self, address: Address) -> None:
        """Take note that a known entry was served."""
        ...

    def removed(self, address: Address) -> None:
        """Forget a known entry, whatever made it leave."""
        ...

    def victim(self) -> Address:
        """Return who leaves next; it stays known until `removed`.

        Raises:
            LookupError: If it knows no entry.
        """
        ...


class Lru:
    """The one not used for the longest time leaves first."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        self._order: OrderedDict[Address, None] = OrderedDict()

    def added(self, entry: Entry) -> None:
        """Count it as used just now."""
        self._order[entry.address] = None

    def used(self, address: Address) -> None:
        """Move it to the end of the order."""
        self._order.move_to_end(address)

    def removed(self, address: Address) -> None:
        """Forget it."""
        del self._order[address]

    def victim(self) -> Address:
        """Return the one not used for the longest time."""
        for address in self._order:
            return address
        raise LookupError("there is no entry")
