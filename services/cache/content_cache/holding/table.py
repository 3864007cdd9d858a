"""Entries by tenant, then by key: a lookup of hundreds of one tenant's keys makes no address for any of them.

As `Table`, kept in parts, so that no dictionary is ever rebuilt for long; a tenant of few entries has one.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from content_cache.entry import Address, Entry
from content_cache.sampling import PARTS

SPLIT_ENTRIES: Final = 4096
"""A tenant's entries are divided when there are more: within a millisecond."""

Parts: TypeAlias = tuple[dict[str, Entry], ...]
"""A tenant's entries: a key's is in the one its hash modulo `PARTS` says; all are one and the same if few."""

_NOTHING: Final[Parts] = ({},) * PARTS


class _Tenants(dict[str, Parts]):
    """Every tenant's entries."""

    def __missing__(self, _tenant: str) -> Parts:
        """Return what a tenant without entries has."""
        return _NOTHING


class EntryTable:
    """What a dictionary by address does, as far as it is needed here.

    Attributes:
        tenants: Each tenant's entries, to be looked at only. What every hit takes may look there itself and
            save a call.
    """

    __slots__ = ("_size", "tenants")

    def __init__(self) -> None:
        self.tenants = _Tenants()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, address: Address) -> bool:
        return self.get(address) is not None

    def __getitem__(self, address: Address) -> Entry:
        tenant, key = address
        return self.tenants[tenant][hash(key) % PARTS][key]

    def __setitem__(self, address: Address, entry: Entry) -> None:
        tenant, key = address
        part = self._part_of(tenant, key)
        if key not in part:
            self._size += 1
        part[key] = entry

    def __delitem__(self, address: Address) -> None:
        tenant, key = address
        parts = self.tenants[tenant]
        part = parts[hash(key) % PARTS]
        del part[key]
        self._size -= 1
        if not part and not any(parts):
            del self.tenants[tenant]

    def get(self, address: Address) -> Entry | None:
        """Return what is under an address; None if nothing is."""
        tenant, key = address
        return self.tenants[tenant][hash(key) % PARTS].get(key)

    def _part_of(self, tenant: str, key: str) -> dict[str, Entry]:
        """Return where a key's entry is to be put, dividing what has become too many."""
        parts = self.tenants.get(tenant)
        if parts is None:
            parts = self.tenants[tenant] = ({},) * PARTS
        elif parts[0] is parts[1] and len(parts[0]) >= SPLIT_ENTRIES:
            parts = self.tenants[tenant] = _divided(parts[0])
        return parts[hash(key) % PARTS]


def _divided(entries: dict[str, Entry]) -> Parts:
    parts: Parts = tuple({} for _ in range(PARTS))
    for key, entry in entries.items():
        parts[hash(key) % PARTS][key] = entry
    return parts
