"""Lookups that count and make recently used: what every hit takes, one key or hundreds in one step.

What is the same for all keys of a batch is done once: of a hundred a key costs a sixth of one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol, cast

from content_cache.entry import Address, Entry
from content_cache.holding.giants import Giants
from content_cache.holding.stats import TenantTable
from content_cache.holding.table import EntryTable
from content_cache.sampling import PARTS


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


class AccessListener(Protocol):
    """Is told what happens to keys, whether memory was large enough or not."""

    @property
    def followed_parts(self) -> int:
        """The keys of so many parts of all `PARTS` are followed lookup by lookup."""
        ...

    def looked_up(self, address: Address) -> None:
        """A caller asked for it."""
        ...

    def looked_up_all(self, addresses: Sequence[Address], followed: Sequence[Address]) -> None:
        """A caller asked for all of them, in this order.

        Args:
            addresses: Which; an address may be its mere tuple.
            followed: Those of them whose keys are followed.
        """
        ...

    def stored(self, address: Address, size_bytes: int) -> None:
        """An entry was stored, perhaps in another's place."""
        ...

    def resized(self, address: Address, size_bytes: int) -> None:
        """Its entry takes more or less than before; nothing was stored."""
        ...

    def dropped(self, address: Address) -> None:
        """Its entry would be gone in a cache of any size."""
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

    __slots__ = (
        "_counters",
        "_followed_parts",
        "_giants",
        "_gone",
        "_listener",
        "_tenants",
        "_used",
        "_used_all",
    )

    def __init__(
        self,
        entries: EntryTable,
        counters: TenantTable,
        *,
        giants: Giants,
        policy: Uses,
        gone: Callable[[Entry], None],
        listener: AccessListener | None,
    ) -> None:
        self._tenants = entries.tenants
        self._counters = counters
        self._giants = giants
        self._used, self._used_all = policy.used, policy.used_all
        self._gone = gone
        self._listener = listener
        self._followed_parts = 0 if listener is None else listener.followed_parts

    def one(self, address: Address, now: datetime) -> Entry | None:
        """Look one entry up."""
        tenant, key = address
        entry = self._tenants[tenant][hash(key) % PARTS].get(key)
        missing = entry is None or entry.expire_time <= now
        if missing:
            self._missed(entry, now)
        counters = self._counters[tenant]
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

    def many(self, tenant: str, keys: Sequence[str], now: datetime) -> list[Entry | None]:
        """Look some entries of a tenant up; what is found stands where its key did."""
        parts, followed_parts = self._tenants[tenant], self._followed_parts
        found: list[Entry | None] = []
        followed: list[tuple[str, str]] = []  # to who follows keys an address is its tuple
        for key in keys:
            part = hash(key) % PARTS
            entry = parts[part].get(key)
            if entry is None or entry.expire_time <= now:
                self._missed(entry, now)
                found.append(None)
                if part < followed_parts:
                    followed.append((tenant, key))
            else:
                found.append(entry)
                if part < followed_parts:
                    followed.append(entry.address)
        hits = cast("list[Entry]", found) if all(found) else [entry for entry in found if entry is not None]
        used = [entry.address for entry in hits]
        if self._listener is not None:
            asked = used if hits is found else _addresses(tenant, keys, found)
            self._listener.looked_up_all(asked, cast("list[Address]", followed))
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


def _addresses(tenant: str, keys: Sequence[str], found: Sequence[Entry | None]) -> list[Address]:
    """Return the addresses of keys, those of entries that were found their own."""
    pairs = zip(keys, found, strict=True)
    return cast("list[Address]", [entry.address if entry else (tenant, key) for key, entry in pairs])
