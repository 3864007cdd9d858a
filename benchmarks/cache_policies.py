"""What eviction costs and is worth: time, stalls and memory at a million entries, and traces replayed.

A million entries beside ten thousand, with a bare OrderedDict beside both; processor time, for on a busy
machine the clock shows what others do. A stall is one operation's processor time, for nothing else runs in
the loop meanwhile. Memory is the growth of a process of its own. Traces are looked for in `--traces`; without
them that part is left out. Run it from the repository's root: `python -m benchmarks.cache_policies`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import POLICIES, make_policy
from content_cache.holding.lookups import AccessListener
from content_cache.learning.accesses import MODELLED_PARTS, Accesses
from content_cache.live import LiveCache
from content_cache.memory import garbage
from content_cache.sampling import PARTS
from content_cache.slices import Slices
from service_common.clock import ManualClock, SystemClock

from benchmarks.support.cache_traces import DEFAULT_TRACES, replay_traces
from benchmarks.support.report import Report

FEW, MANY = 10_000, 1_000_000
OPERATIONS = 500_000
MOST_RATIO = 2.5
MOST_STALL_MS = 20.0
MOST_SLICE_MS = 5.0
MEASURED_ENTRIES = 200_000
LOOKED_UP = 8_000
ROUNDS = 25
_VALUE = bytes(64)
_MEMORY = "benchmarks.support.cache_memory"

Step = Callable[[int], object]


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, default=DEFAULT_TRACES, help="folder of the real traces")
    parser.add_argument("--only", choices=("costs", "memory", "traces"), help="one of the three parts")
    given = parser.parse_args()
    report = Report()
    report.machine()
    if given.only in {None, "memory"}:
        _memory(report)
    if given.only in {None, "traces"}:
        replay_traces(report, given.traces)
    if given.only in {None, "costs"}:
        _costs(report)
    return int(report.short)


def _costs(report: Report) -> None:
    bare = [_per_operation(_bare(size), size)[0] for size in (FEW, MANY)]
    for size, each in zip((FEW, MANY), bare, strict=True):
        report.figure(f"policies_set_evict_bare_{size}", each, "us")
    report.figure("policies_set_evict_bare_ratio", bare[1] / bare[0], "x")
    garbage.keep_collections_short()
    for name in POLICIES:
        (few, _), (many, taken) = (_per_operation(_ours(name, size), size) for size in (FEW, MANY))
        report.figure(f"policies_set_evict_{name}_{FEW}", few, "us")
        report.figure(f"policies_set_evict_{name}_{MANY}", many, "us")
        report.figure(f"policies_set_evict_{name}_ratio", many / few, "x", at_most=MOST_RATIO)
        worst = taken[-1] * 1_000
        stall = taken[int(len(taken) * 0.999)] * 1_000
        report.figure(f"policies_stall_{name}_p999", stall, "ms", at_most=MOST_STALL_MS)
        report.figure(f"policies_stall_{name}_max", worst, "ms", at_most=MOST_STALL_MS)
        _shrinking(report, name)
    garbage.stop()
    _lookups(report)


def _per_operation(step: Step, filled: int) -> tuple[float, list[float]]:
    """Return microseconds of an average operation on a full cache, and all operations' seconds in order."""
    taken = []
    began = time.process_time()
    for number in range(filled, filled + OPERATIONS):
        before = time.thread_time()
        step(number)
        taken.append(time.thread_time() - before)
    return (time.process_time() - began) / OPERATIONS * 1e6, sorted(taken)


def _bare(size: int) -> Step:
    held: OrderedDict[str, bytes] = OrderedDict((f"{number:064x}", _VALUE) for number in range(size))

    def step(number: int) -> None:
        held[f"{number:064x}"] = _VALUE
        held.popitem(last=False)

    return step


def _ours(name: str, size: int) -> Step:
    cache = full_cache(name, size)

    def step(number: int) -> None:
        cache.set(_entry(number, cache))
        cache.take_effects()

    return step


def full_cache(name: str, size: int, listener: AccessListener | None = None) -> ContentCache:
    """Return a cache that is full with so many entries."""
    policy = make_policy(name)
    empty = ContentCache(
        max_bytes=1 << 60, policy=policy, clock=ManualClock(), new_token=str, listener=listener
    )
    empty.resize(size * empty.bytes_of(_entry(0, empty)))
    for number in range(size):
        empty.set(_entry(number, empty))
        empty.take_effects()
    return empty


def _shrinking(report: Report, name: str) -> None:
    """Half of a million entries leave in slices, as when memory is short; what follows is included."""
    cache = full_cache(name, MANY)
    clock = SystemClock()
    noted: list[Address] = []
    live = LiveCache(cache, clock=clock, changed=lambda address, _before: noted.append(address))
    live.open()
    slices = Slices(live.operation(lambda _seconds: None), clock)
    cache.resize(cache.max_bytes // 2)
    worst = 0.0
    more = True
    while more:
        before = time.thread_time()
        more = slices.slice(ContentCache.shrink)
        worst = max(worst, time.thread_time() - before)
    assert len(noted) >= MANY // 2 - 1
    report.figure(f"policies_slice_{name}_max", worst * 1_000, "ms", at_most=MOST_SLICE_MS)


def _entry(number: int, cache: ContentCache) -> Entry:
    created = cache.now + timedelta(microseconds=number)
    expires = created + timedelta(hours=1 + number % 24)
    return Entry(Address("a", f"{number:064x}"), _VALUE, 1000 + number % 5000, created, expires)


def _lookups(report: Report) -> None:
    """What a hit costs with each policy, and what all that listens to lookups adds to it."""
    caches = {name: full_cache(name, LOOKED_UP) for name in POLICIES}
    for parts in (PARTS, MODELLED_PARTS):
        caches[f"heard_{parts}"] = full_cache("lru", LOOKED_UP, _listener(parts))
    times = dict.fromkeys(caches, float("inf"))
    for _ in range(ROUNDS):
        for name, cache in caches.items():
            times[name] = min(times[name], _lookup_us(cache))
    for name in POLICIES:
        report.figure(f"policies_get_{name}", times[name], "us")
    for parts in (PARTS, MODELLED_PARTS):
        added = times[f"heard_{parts}"] - times["lru"]
        report.figure(f"policies_listening_per_get_{parts}_of_{PARTS}_modelled", added, "us")


def _listener(modelled_parts: int) -> Accesses:
    def nothing(_address: Address) -> None:
        return None

    return Accesses(capacity=lambda: 1 << 24, held=nothing, modelled_parts=modelled_parts)


def _lookup_us(cache: ContentCache) -> float:
    addresses = [Address("a", f"{number * 7919 % LOOKED_UP:064x}") for number in range(LOOKED_UP)]
    began = time.process_time()
    for address in addresses:
        cache.get(address)
    return (time.process_time() - began) / LOOKED_UP * 1e6


def _memory(report: Report) -> None:
    for name in (*POLICIES, "server"):
        done = subprocess.run(
            [sys.executable, "-m", _MEMORY, name, str(MEASURED_ENTRIES)],
            check=True,
            capture_output=True,
            text=True,
        )
        accounted, real = map(int, done.stdout.split())
        report.figure(
            f"policies_memory_{name}", accounted / real, "accounted/real", at_least=0.9, at_most=1.1
        )
        report.remark(f"{name}: an entry of 1 KiB takes {real / MEASURED_ENTRIES:.0f} bytes")


if __name__ == "__main__":
    sys.exit(main())
