"""What happened, counted per tenant since the start; nothing here reads a clock or keeps a key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class TenantCounters:
    """One tenant's counts.

    Attributes:
        hits: Lookups that found an entry.
        misses: Lookups that found none.
        saved_micros: What the hits would have cost to generate again.
        entries: Entries held now.
        size_bytes: Memory they take now.
        evictions: Entries that left because memory was full.
        expirations: Entries that left because their time had come.
        stale_hits: Hits on entries that had expired, within their stale windows.
        purged: Entries that left because of a purge.
        quota_evictions: Entries that left because their tenant's quota was reached.
    """

    hits: int = 0
    misses: int = 0
    saved_micros: int = 0
    entries: int = 0
    size_bytes: int = 0
    evictions: int = 0
    expirations: int = 0
    stale_hits: int = 0
    purged: int = 0
    quota_evictions: int = 0

    @property
    def hit_ratio(self) -> float:
        """Hits among lookups; 0 before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


class TenantTable(dict[str, TenantCounters]):
    """Every tenant's counts; a tenant's begin when it is first asked for."""

    def __missing__(self, tenant: str) -> TenantCounters:
        """Begin to count."""
        found = self[tenant] = TenantCounters()
        return found


def total(counters: Iterable[TenantCounters]) -> TenantCounters:
    """Add up the counts of many tenants."""
    result = TenantCounters()
    for each in counters:
        result.hits += each.hits
        result.misses += each.misses
        result.saved_micros += each.saved_micros
        result.entries += each.entries
        result.size_bytes += each.size_bytes
        result.evictions += each.evictions
        result.expirations += each.expirations
        result.stale_hits += each.stale_hits
        result.purged += each.purged
        result.quota_evictions += each.quota_evictions
    return result
