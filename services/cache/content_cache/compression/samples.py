"""Which entries a dictionary would be learnt from: a bounded random part of a tenant's, by name alone.

Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985, algorithm R: every entry that came has the same
chance to be among them. Only addresses are kept; what they hold is read when it is time to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from content_cache.entry import Address

FIRST_AT: Final = 48
"""Entries before the first training; each later one waits for four times as many as the one before."""

MOST_SAMPLES: Final = 768
MOST_TENANTS: Final = 256
_GROWTH: Final = 4


@dataclass(slots=True)
class _Reservoir:
    seen: int = 0
    due_at: int = FIRST_AT
    addresses: list[Address] = field(default_factory=list)


class Samples:
    """Reservoirs by tenant.

    Args:
        below: Returns a random whole number from 0 below its argument.
    """

    def __init__(self, below: Callable[[int], int]) -> None:
        self._below = below
        self._tenants: dict[str, _Reservoir] = {}

    def saw(self, address: Address) -> None:
        """Take note of an entry that was packed."""
        found = self._tenants.get(address.tenant)
        if found is None:
            if len(self._tenants) >= MOST_TENANTS:
                return
            found = self._tenants[address.tenant] = _Reservoir()
        found.seen += 1
        if len(found.addresses) < MOST_SAMPLES:
            found.addresses.append(address)
            return
        place = self._below(found.seen)
        if place < MOST_SAMPLES:
            found.addresses[place] = address

    def due(self) -> list[str]:
        """Return the tenants of which enough has come to learn again."""
        return [tenant for tenant, each in self._tenants.items() if each.seen >= each.due_at]

    def take(self, tenant: str) -> list[Address]:
        """Return a tenant's samples; it is due again when four times as much has come."""
        found = self._tenants[tenant]
        found.due_at = max(found.seen, found.due_at) * _GROWTH
        return list(found.addresses)

    def forget(self, tenant: str) -> None:
        """Start anew with a tenant."""
        self._tenants.pop(tenant, None)
