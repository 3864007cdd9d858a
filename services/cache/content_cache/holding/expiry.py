"""Finds expired entries without looking at the others: addresses in buckets of time, the due ones first."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush

from content_cache.entry import Address, Entry

BUCKET_S = 16
"""Width of a bucket. Reads are exact by themselves; this only delays when the memory is given back."""

_PARTS = 64
_MOST_UNDIVIDED = 16_384
"""A set is rebuilt as it grows; larger buckets are divided, so that this is short."""


class ExpiryIndex:
    """Addresses by the time their entries leave, kept in step with the entries by its owner."""

    __slots__ = ("_buckets", "_order")

    def __init__(self) -> None:
        self._buckets: dict[int, list[set[Address]]] = {}
        self._order: list[int] = []

    def add(self, entry: Entry) -> None:
        """Take note of an entry."""
        number = _bucket(entry.leave_time)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = [set()]
            heappush(self._order, number)
        part = bucket[hash(entry.address) % len(bucket)]
        part.add(entry.address)
        if len(part) > _MOST_UNDIVIDED and len(bucket) == 1:
            self._buckets[number] = _divided(part)

    def discard(self, entry: Entry) -> None:
        """Forget an entry, known or not."""
        bucket = self._buckets.get(_bucket(entry.leave_time))
        if bucket is not None:
            bucket[hash(entry.address) % len(bucket)].discard(entry.address)

    def take_due(self, now: datetime, limit: int) -> list[Address]:
        """Return up to `limit` addresses whose bucket has passed, and forget them."""
        found: list[Address] = []
        while self._order and self._order[0] < _bucket(now):
            bucket = self._buckets[self._order[0]]
            for part in bucket:
                while part:
                    if len(found) == limit:
                        return found
                    found.append(part.pop())
            del self._buckets[heappop(self._order)]
        return found


def _bucket(moment: datetime) -> int:
    return int(moment.timestamp() // BUCKET_S)


def _divided(bucket: set[Address]) -> list[set[Address]]:
    parts: list[set[Address]] = [set() for _ in range(_PARTS)]
    for address in bucket:
        parts[hash(address) % _PARTS].add(address)
    return parts
