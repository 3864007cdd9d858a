"""Lookups that count and make recently used: what every hit takes, one key or hundreds in one step.

What is the same for all keys of a batch is done once: of a hundred a key costs a sixth of one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import repeat
from typing import Protocol, cast

from content_cache.entry import Address, Entry
from content_cache.giants import Giants
from content_cache.miss_ratio_curve import AccessListener
from content_cache.stats import TenantTable
from content_cache.table import PARTS, Table


class Uses(Protocol):
    """What of an eviction policy lookups need."""

    @property
    def used(self) -> Callable[[Address], None]:
        """Takes note that an entry was served."""
        ...

    @property
    def used_all(self) -> Callable[[Iterable[Address]], None]:
        """Takes note that entries were served, one after the other."""
        ...


class Lookups:
    """Lookups in a table of entries.

    Args:
        entries: The table.
        counters: Where hits and misses are counted.
        giants: Is told of uses while there are any.
        policy: Is told of each use.
        gone: Removes an entry of which nothing is handed out any more.
        listener: Is told of lookups.
    """

    __slots__ = ("_counters", "_giants", "_gone", "_listener", "_parts", "_used", "_used_all")

    def __init__(
        self,
        entries: Table[Entry],
        counters: TenantTable,
        *,
        giants: Giants,
        policy: Uses,
        gone: Callable[[Entry], None],
        listener: AccessListener | None,
    ) -> None:
        self._parts = entries.parts
        self._counters = counters
        self._giants = giants
        self._used, self._used_all = policy.used, policy.used_all
        self._gone = gone
        self._listener = listener

    def one(self, address: Address, now: datetime) -> Entry | None:
        """Look one entry up."""
        entry = self._parts[hash(address) % PARTS].get(address)
        missing = entry is None or entry.expire_time <= now
        if missing:
            self._missed(entry, now)
        counters = self._counters[address[0]]
        if entry is None or missing:
            if self._listener is not None:
                self._listener.looked_up(address)
            counters.misses += 1
            return None
        counters.hits += 1  # from here on as `hit`, without its call
        counters.saved_micros += entry.cost_micros
        address = entry.address  # the one that was made for this lookup gives its memory back
        if self._listener is not None:
            self._listener.looked_up(address)
        self._used(address)
        if self._giants:
            self._giants.used(address)
        return entry

    def many(self, tenant: str, keys: Iterable[str], now: datetime) -> list[Entry | None]:
        """Look some entries of a tenant up; what is found stands where its key did."""
        # To a table an address is its tuple; one is made of it only by who stores it.
        addresses = cast("list[Address]", list(zip(repeat(tenant), keys)))
        parts = self._parts
        found: list[Entry | None] = []
        for address in addresses:
            entry = parts[hash(address) % PARTS].get(address)
            if entry is None or entry.expire_time <= now:
                self._missed(entry, now)
                found.append(None)
            else:
                found.append(entry)
        hits = cast("list[Entry]", found) if all(found) else [entry for entry in found if entry is not None]
        # From here on the entries' own addresses: those made of the keys give their memory back at once.
        used = [entry.address for entry in hits]
        if self._listener is not None:
            self._listener.looked_up_all(used if hits is found else _own(addresses, found))
        self._take_note(tenant, hits, used, of=len(found))
        return found

    def hit(self, entry: Entry) -> None:
        """Take note that an entry is handed out."""
        counters = self._counters[entry.address.tenant]
        counters.hits += 1
        counters.saved_micros += entry.cost_micros
        self._used(entry.address)
        if self._giants:
            self._giants.used(entry.address)

    def _missed(self, entry: Entry | None, now: datetime) -> None:
        if entry is not None and entry.is_gone(now):
            self._gone(entry)

    def _take_note(self, tenant: str, hits: Sequence[Entry], used: Sequence[Address], *, of: int) -> None:
        counters = self._counters[tenant]
        counters.hits += len(hits)
        counters.misses += of - len(hits)
        counters.saved_micros += sum([entry.cost_micros for entry in hits])
        self._used_all(used)
        if self._giants:
            for address in used:
                self._giants.used(address)


def _own(addresses: Sequence[Address], found: Sequence[Entry | None]) -> list[Address]:
    """Return addresses, of entries that were found their own."""
    return [entry.address if entry else address for address, entry in zip(addresses, found, strict=True)]
