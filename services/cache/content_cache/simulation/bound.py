"""What no policy can beat: an upper bound on hits, and a clairvoyant policy to see how near one can come.

The bound relaxes the problem: between two requests for the same answer, keeping it takes its bytes for that
long, and a cache of `capacity` bytes has `capacity` times the trace's length of bytes and moments. Whole
reuse intervals are taken, the cheapest in bytes and moments per gain first, and the last in part: PFOO-L of
Berger, Beckmann, Harchol-Balter, "Practical Bounds on Optimal Caching with Variable Object Sizes", SIGMETRICS
2018. No schedule takes less for as many hits, so no policy hits more, not even one that knows the future. The
true optimum is between this and what the clairvoyant policy gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from content_cache.entry import Address
from content_cache.simulation.replay import Outcome
from content_cache.simulation.trace import Request

Gain = Callable[[Request], int]


def upper_bound(requests: Sequence[Request], *, capacity: int, gain: Gain) -> float:
    """Return the most that hits can gain, in the gain's unit.

    Args:
        requests: What is asked for.
        capacity: Most bytes of entries.
        gain: What one hit is worth, e.g. 1 or its cost.
    """
    last: dict[Address, int] = {}
    intervals: list[tuple[int, int]] = []
    for now, request in enumerate(requests):
        before = last.get(request.address)
        if before is not None and request.size_bytes <= capacity:
            intervals.append(((now - before) * request.size_bytes, gain(request)))
        last[request.address] = now
    intervals.sort(key=lambda each: each[0] / each[1] if each[1] else float("inf"))
    area, total = float(capacity * len(requests)), 0.0
    for taken, worth in intervals:
        if taken > area:
            return total + worth * area / taken
        area -= taken
        total += worth
    return total


def clairvoyant(requests: Sequence[Request], *, capacity: int) -> Outcome:
    """Replay, always evicting what is asked for again last: Belady's rule with sizes, greedy, not optimal."""
    following = _next_requests(requests)
    outcome = Outcome()
    held: dict[Address, tuple[int, int]] = {}
    farthest: list[tuple[int, Address]] = []
    room = capacity
    for now, request in enumerate(requests):
        address, again = request.address, following[now]
        found = held.pop(address, None)
        outcome.count(request, hit=found is not None)
        room += found[1] if found else 0
        if again == len(requests) or request.size_bytes > capacity:
            continue
        held[address] = (again, request.size_bytes)
        heappush(farthest, (-again, address))
        room -= request.size_bytes
        while room < 0:
            when, leaving = heappop(farthest)
            if held.get(leaving, (0, 0))[0] == -when:
                room += held.pop(leaving)[1]
                outcome.evictions += 1
    return outcome


def _next_requests(requests: Sequence[Request]) -> list[int]:
    """Return for each request when its answer is asked for again; the trace's length if never."""
    following = [len(requests)] * len(requests)
    seen: dict[Address, int] = {}
    for now in range(len(requests) - 1, -1, -1):
        following[now] = seen.get(requests[now].address, len(requests))
        seen[requests[now].address] = now
    return following
