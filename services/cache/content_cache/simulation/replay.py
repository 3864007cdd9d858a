"""Replays requests against a policy: the cache's rule of making room with the cache's own policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from content_cache.entry import Address
from content_cache.eviction import EvictionPolicy
from content_cache.simulation.trace import Request

_GIB = 1024**3
_DOLLAR = 1_000_000


@dataclass(slots=True)
class Outcome:
    """What came of a replay.

    Attributes:
        requests: How many there were.
        hits: How many found their entry.
        bytes_asked: What all answers take.
        bytes_hit: What the hits' answers take.
        cost_micros: What all answers cost without a cache.
        saved_micros: What the hits' answers would have cost.
        evictions: How many entries left for others.
    """

    requests: int = 0
    hits: int = 0
    bytes_asked: int = 0
    bytes_hit: int = 0
    cost_micros: int = 0
    saved_micros: int = 0
    evictions: int = 0

    @property
    def hit_ratio(self) -> float:
        """Hits among requests."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def byte_hit_ratio(self) -> float:
        """Bytes hit among bytes asked for."""
        return self.bytes_hit / self.bytes_asked if self.bytes_asked else 0.0

    @property
    def saved_dollars(self) -> float:
        """Dollars the hits saved."""
        return self.saved_micros / _DOLLAR

    def saved_dollars_per_gib(self, capacity: int) -> float:
        """Dollars saved for each GiB of the limit."""
        return self.saved_dollars * _GIB / capacity

    def count(self, request: Request, *, hit: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.bytes_asked += request.size_bytes
        self.cost_micros += request.cost_micros
        if hit:
            self.hits += 1
            self.bytes_hit += request.size_bytes
            self.saved_micros += request.cost_micros


def footprint(requests: Iterable[Request]) -> int:
    """Return the bytes that all different answers take together."""
    return sum({each.address: each.size_bytes for each in requests}.values())


def replay(requests: Sequence[Request], policy: EvictionPolicy, *, capacity: int) -> Outcome:
    """Ask for each in turn, and store what was missed unless it alone exceeds the limit.

    Args:
        requests: What is asked for. An address keeps the size it was stored with.
        policy: An empty policy.
        capacity: Most bytes of entries; what entries take beside their bytes is the trace's own affair.
    """
    outcome = Outcome()
    held: dict[Address, Request] = {}
    room = capacity
    for request in requests:
        found = request.address in held
        outcome.count(request, hit=found)
        if found:
            policy.used(request.address)
            continue
        if request.size_bytes > capacity:
            continue
        while request.size_bytes > room:
            victim = policy.victim()
            policy.removed(victim)
            room += held.pop(victim).size_bytes
            outcome.evictions += 1
        held[request.address] = request
        policy.added(request)
        room -= request.size_bytes
    return outcome
