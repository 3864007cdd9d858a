"""What the cache asks of a policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from content_cache.entry import Address


class Evictable(Protocol):
    """What a policy may know of an entry."""

    @property
    def address(self) -> Address:
        """Where it is kept."""
        ...

    @property
    def size_bytes(self) -> int:
        """Memory that its leaving gives back."""
        ...

    @property
    def cost_micros(self) -> int:
        """What generating it again would cost."""
        ...


class EvictionPolicy(Protocol):
    """An order of leaving over the entries it was told of; every call is O(1), `victim` on average.

    Attributes:
        extra_bytes: Memory it takes per entry beyond what LRU takes, which every entry's size includes.
    """

    extra_bytes: int

    def added(self, entry: Evictable) -> None:
        """Take note of an entry whose address it does not know."""
        ...

    def used(self, address: Address) -> None:
        """Take note that a known entry was served."""
        ...

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Take note that known entries were served, one after the other."""
        ...

    def removed(self, address: Address) -> None:
        """Forget a known entry, whatever made it leave."""
        ...

    def victim(self) -> Address:
        """Return who leaves next; it stays known until `removed`, and is the answer until anything changes.

        Raises:
            LookupError: If it knows no entry.
        """
        ...
