"""Finds expired entries without looking at the others: addresses in buckets of time, the due ones first."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush

from content_cache.entry import Address, Entry

BUCKET_S = 16
"""Width of a bucket. Reads are exact by themselves; this only delays when the memory is given back."""


class ExpiryIndex:
    """Addresses by the time their entries leave, kept in step with the entries by its owner."""

    __slots__ = ("_buckets", "_order")

    def __init__(self) -> None:
        self._buckets: dict[int, set[Address]] = {}
        self._order: list[int] = []

    def add(self, entry: Entry) -> None:
        """Take note of an entry."""
        number = _bucket(entry.leave_time)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            heappush(self._order, number)
        bucket.add(entry.address)

    def discard(self, entry: Entry) -> None:
        """Forget an entry, known or not."""
        bucket = self._buckets.get(_bucket(entry.leave_time))
        if bucket is not None:
            bucket.discard(entry.address)

    def take_due(self, now: datetime, limit: int) -> list[Address]:
        """Return up to `limit` addresses whose bucket has passed, and forget them."""
        found: list[Address] = []
        while self._order and self._order[0] < _bucket(now):
            bucket = self._buckets[self._order[0]]
            while bucket:
                if len(found) == limit:
                    return found
                found.append(bucket.pop())
            del self._buckets[heappop(self._order)]
        return found


def _bucket(moment: datetime) -> int:
    return int(moment.timestamp() // BUCKET_S)
