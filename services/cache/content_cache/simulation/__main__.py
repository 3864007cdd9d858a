"""`python -m content_cache.simulation TRACE`: replays it, prints JSON; `factory cache simulate` asks it.

The policies are the service's own, and the command line imports no service: so the service answers, as it
does when stores are migrated.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from content_cache.eviction import POLICIES, make_policy
from content_cache.simulation.bound import clairvoyant, upper_bound
from content_cache.simulation.capacity import parse_capacity
from content_cache.simulation.replay import Outcome, footprint, replay
from content_cache.simulation.trace import Request, TraceError, read_trace

_REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Answer; the exit code is 2, with one line on stderr, when the question is wrong."""
    parser = ArgumentParser(prog="content_cache.simulation", description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--policy", default=",".join(POLICIES), help="names, separated by commas")
    parser.add_argument("--capacity", default="1%,5%,10%,20%", help="sizes, separated by commas")
    given = parser.parse_args(argv)
    try:
        sys.stdout.write(
            json.dumps(simulate(given.trace, given.policy.split(","), given.capacity.split(",")))
        )
    except (TraceError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    return 0


def simulate(path: Path, policies: Sequence[str], capacities: Sequence[str]) -> dict[str, object]:
    """Return what each policy gets at each size, and what bounds it.

    Raises:
        TraceError: If the trace cannot be read.
        ValueError: If a policy or capacity is not one, naming it.
    """
    unknown = [name for name in policies if name not in POLICIES]
    if unknown:
        raise ValueError(f"policy: {', '.join(unknown)} unknown; there are {', '.join(POLICIES)}")
    requests = read_trace(path)
    if not requests:
        raise TraceError(f"{path}: no requests")
    total = footprint(requests)
    sizes = [parse_capacity(each, footprint=total) for each in capacities]
    return {
        "trace": str(path),
        "requests": len(requests),
        "footprint_bytes": total,
        "capacities": [
            {"capacity_bytes": size, "results": _results(requests, policies, size)} for size in sizes
        ],
    }


def _results(requests: Sequence[Request], policies: Sequence[str], capacity: int) -> list[dict[str, object]]:
    found = {name: replay(requests, make_policy(name), capacity=capacity) for name in policies}
    found["clairvoyant"] = clairvoyant(requests, capacity=capacity)
    rows = [_row(name, outcome, capacity) for name, outcome in found.items()]
    return [*rows, _row("bound", _bound(requests, capacity), capacity)]


def _bound(requests: Sequence[Request], capacity: int) -> Outcome:
    """Return the bounds of hits, of bytes and of money, each by itself; they cannot be had together."""
    outcome = Outcome()
    for each in requests:
        outcome.count(each, hit=False)
    outcome.hits = int(upper_bound(requests, capacity=capacity, gain=lambda _: 1))
    outcome.bytes_hit = int(upper_bound(requests, capacity=capacity, gain=lambda each: each.size_bytes))
    outcome.saved_micros = int(upper_bound(requests, capacity=capacity, gain=lambda each: each.cost_micros))
    return outcome


def _row(name: str, outcome: Outcome, capacity: int) -> dict[str, object]:
    return {
        "policy": name,
        "hit_ratio": round(outcome.hit_ratio, 6),
        "byte_hit_ratio": round(outcome.byte_hit_ratio, 6),
        "saved_dollars": round(outcome.saved_dollars, 6),
        "saved_dollars_per_gib": round(outcome.saved_dollars_per_gib(capacity), 6),
        "evictions": outcome.evictions,
    }


if __name__ == "__main__":
    sys.exit(main())
