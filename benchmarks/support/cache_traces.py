"""Real traces replayed: hits beside a plain reference and the bounds, the sampled curve, and dollars.

The AdaptSize trace has sizes and no costs. The Azure trace has tokens and no re-use: each of its requests
becomes an answer whose cost is its tokens' price, and answers are asked for with Zipf frequencies, ranks
dealt at random, so that dear ones are asked for as often as cheap ones.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path

from content_cache.entry import ENTRY_OVERHEAD_BYTES, Address
from content_cache.eviction import POLICIES, make_policy
from content_cache.learning.miss_ratio_curve import MissRatioCurve
from content_cache.sampling import PLACES
from content_cache.simulation.bound import clairvoyant, upper_bound
from content_cache.simulation.replay import footprint, replay
from content_cache.simulation.trace import (
    COMPLETION_MICROS_PER_MILLION,
    PROMPT_MICROS_PER_MILLION,
    Request,
    read_trace,
)

from benchmarks.support.report import Report

DEFAULT_TRACES = Path(__file__).parents[3] / "shared" / "traces"
SHARES = (0.01, 0.05, 0.1, 0.2)
ZIPF = 0.9
DRAWN = 200_000
LEAST_GAIN = 1.15
MOST_OFF = 0.02
_SEED = 20260101


def replay_traces(report: Report, folder: Path) -> None:
    """Replay both traces, or say why not."""
    for name, run in (("adaptsize_requests.trace.xz", _adaptsize), ("azure_llm_conv.csv.gz", _azure)):
        if (folder / name).exists():
            run(report, read_trace(folder / name))
        else:
            report.remark(f"left out: {folder / name} is not there; --traces says where it is")


def _adaptsize(report: Report, requests: Sequence[Request]) -> None:
    total = footprint(requests)
    curve = curve_of(requests)
    for share in SHARES:
        capacity, percent = int(total * share), f"{share:.0%}".rstrip("%")
        found = {name: replay(requests, make_policy(name), capacity=capacity) for name in POLICIES}
        for name, outcome in found.items():
            report.figure(f"policies_hits_{name}_{percent}", 100 * outcome.hit_ratio, "%")
        known = clairvoyant(requests, capacity=capacity)
        report.figure(f"policies_hits_clairvoyant_{percent}", 100 * known.hit_ratio, "%")
        most = upper_bound(requests, capacity=capacity, gain=lambda _: 1) / len(requests)
        report.figure(f"policies_hits_bound_{percent}", 100 * most, "%")
        off = abs(found["lru"].hits - reference_lru_hits(requests, capacity))
        report.figure(f"policies_lru_off_reference_{percent}", off, "hits", at_most=0)
        error = 100 * abs(curve.hit_ratio(capacity) - found["lru"].hit_ratio)
        report.figure(f"policies_curve_off_{percent}", error, "points", at_most=100 * MOST_OFF)
    report.remark(f"the curve followed {curve.rate:.0%} of the keys, at most 8192 of them")


def reference_lru_hits(requests: Sequence[Request], capacity: int) -> int:
    """Count LRU's hits with an ordered dictionary and nothing of ours."""
    held: OrderedDict[Address, int] = OrderedDict()
    used = hits = 0
    for each in requests:
        if each.address in held:
            hits += 1
            held.move_to_end(each.address)
        elif each.size_bytes <= capacity:
            while used + each.size_bytes > capacity:
                used -= held.popitem(last=False)[1]
            held[each.address] = each.size_bytes
            used += each.size_bytes
    return hits


def curve_of(requests: Sequence[Request]) -> MissRatioCurve:
    """Return the curve of a cache that keeps everything."""

    def spread(address: Address) -> int:
        return int.from_bytes(blake2b(address.key.encode(), digest_size=8).digest(), "big") % PLACES

    curve = MissRatioCurve(place_of=spread)
    stored: set[Address] = set()
    for each in requests:
        curve.looked_up(each.address)
        if each.address not in stored:
            stored.add(each.address)
            curve.stored(each.address, each.size_bytes)
    return curve


def zipf_requests(answers: Sequence[Request]) -> list[Request]:
    """Draw requests for answers, each taking its overhead in memory, too."""
    chance = random.Random(_SEED)
    kept = [
        Request(each.address, each.size_bytes + ENTRY_OVERHEAD_BYTES, each.cost_micros) for each in answers
    ]
    chance.shuffle(kept)
    weights = list(accumulate(1 / (rank + 1) ** ZIPF for rank in range(len(kept))))
    return chance.choices(kept, cum_weights=weights, k=DRAWN)


def _azure(report: Report, answers: Sequence[Request]) -> None:
    requests = zipf_requests(answers)
    report.remark(
        f"{DRAWN} requests for {len(answers)} answers, Zipf {ZIPF:g}; "
        f"${PROMPT_MICROS_PER_MILLION / 1e6:g} and ${COMPLETION_MICROS_PER_MILLION / 1e6:g} a million tokens"
    )
    total = footprint(requests)
    for share in SHARES:
        capacity, percent = int(total * share), f"{share:.0%}".rstrip("%")
        found = {name: replay(requests, make_policy(name), capacity=capacity) for name in POLICIES}
        for name, outcome in found.items():
            report.figure(f"policies_saved_{name}_{percent}", outcome.saved_dollars, "dollars")
            per_gib = outcome.saved_dollars_per_gib(capacity)
            report.figure(f"policies_saved_per_gib_{name}_{percent}", per_gib, "dollars/GiB")
        most = upper_bound(requests, capacity=capacity, gain=lambda each: each.cost_micros) / 1e6
        report.figure(f"policies_saved_bound_{percent}", most, "dollars")
        gain = found["gdsf"].saved_micros / max(1, found["lru"].saved_micros)
        bar = LEAST_GAIN if share == 0.05 else None
        report.figure(f"policies_saved_gdsf_of_lru_{percent}", gain, "x", at_least=bar)
