"""What a restart costs in hits, and whether a warming lets anything leave.

Real processes over SQLite: a Zipf load whose footprint is several times the memory, `kill -9`, and the same
load again on the next process. A minute is one of `RATE` lookups a second, made as fast as it goes; the note
of what is in demand is written every second instead of every minute, as time passes so much faster. Run it
from the repository's root: `python -m benchmarks.cache_warming`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import grpc
from content_cache.eviction import Lru
from content_cache.simulation.replay import footprint, replay
from content_cache.simulation.trace import read_trace
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc

from benchmarks.support.cache_traces import DEFAULT_TRACES, MOST_OFF, SHARES, curve_of
from benchmarks.support.report import Report
from tests.support.processes import ServiceProcess, running_service

KEYS = 60_000
ZIPF = 0.9
MEMORY = 16 * 1024**2
RATE = 1000
MINUTE = 60 * RATE
BATCH = 200
LEAST_RATIO = 0.9
_VALUE = bytes(1024)
_SEED = 20260101
_SETTLE_S = 4.0


@dataclass(slots=True)
class Load:
    """Lookups drawn by popularity; what is missing is stored."""

    chance: random.Random
    weights: list[float]

    async def hit_ratio(self, stub: Any, lookups: int) -> float:
        """Ask for so many and return how many of them hit."""
        hits = 0
        for _ in range(lookups // BATCH):
            drawn = self.chance.choices(range(KEYS), cum_weights=self.weights, k=BATCH)
            gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=key_of(each)) for each in drawn])
            results = (await stub.BatchGet(gets)).results
            found = [each.value.HasField("entry") for each in results]
            hits += sum(found)
            missed = {each for each, hit in zip(drawn, found, strict=True) if not hit}
            if missed:
                await stub.BatchSet(pb.BatchSetRequest(requests=[set_of(each) for each in missed]))
        return hits / lookups


def key_of(rank: int) -> str:
    """Return the key of a rank."""
    return f"{rank:064x}"


def set_of(rank: int) -> pb.SetRequest:
    """Return a request to store a rank's entry, popular or not, under one of two labels."""
    content = pb.EntryContent(value=_VALUE, cost_micros=1000, tags=["hot" if rank < KEYS // 100 else "cold"])
    return pb.SetRequest(key=key_of(rank), content=content)


@contextmanager
def cache_process(folder: Path, memory: int) -> Iterator[ServiceProcess]:
    """Run a cache whose files are in a folder."""
    environ = {"CACHE_MAX_BYTES": str(memory), "CACHE_HEAT_INTERVAL_S": "1"}
    with running_service("cache", directory=folder, env=environ) as service:
        yield service


async def _restarts(report: Report, folder: Path) -> None:
    weights = list(accumulate(1 / (rank + 1) ** ZIPF for rank in range(KEYS)))
    load = Load(random.Random(_SEED), weights)
    with cache_process(folder, MEMORY) as service:
        async with _stub(service) as stub:
            cold = await load.hit_ratio(stub, MINUTE)
            await load.hit_ratio(stub, MINUTE)
            before = await load.hit_ratio(stub, MINUTE)
        await asyncio.sleep(_SETTLE_S)
        service.popen.kill()
        service.popen.wait()
    report.figure("warming_hits_cold_minute", 100 * cold, "%")
    report.figure("warming_hits_before", 100 * before, "%")
    for name, memory in (("after_kill", MEMORY), ("after_kill_half_memory", MEMORY // 2)):
        with cache_process(folder, memory) as service:
            async with _stub(service) as stub:
                after = await load.hit_ratio(stub, MINUTE)
            await asyncio.sleep(_SETTLE_S)
        report.figure(f"warming_hits_{name}", 100 * after, "%")
        bar = LEAST_RATIO if memory == MEMORY else None
        report.figure(f"warming_{name}_of_before", after / before, "x", at_least=bar)


async def _no_hotter_leaves(report: Report, folder: Path) -> None:
    """A start with a quarter of the memory; the rare label is purged; a warming fills the room."""
    with cache_process(folder, MEMORY // 4) as service:
        async with _stub(service) as stub:
            held = await _held(stub)
            full = (await stub.StartWarming(pb.StartWarmingRequest())).warming
            full = await _ended(stub, full)
            report.figure("warming_full_memory_brought", full.warmed_entries, "entries")
            await stub.Purge(pb.PurgeRequest(key_prefix="0" * 61 + "4"))
            await stub.Purge(pb.PurgeRequest(key_prefix="0" * 60 + "1"))
            before = await _held(stub)
            began = time.perf_counter()
            warming = await _ended(stub, (await stub.StartWarming(pb.StartWarmingRequest())).warming)
            took = time.perf_counter() - began
            found = await stub.GetStats(pb.GetStatsRequest())
    gone = before + warming.warmed_entries - found.entries
    report.figure("warming_brought", warming.warmed_entries, f"entries of {warming.candidate_entries}")
    report.figure("warming_rate", warming.warmed_entries / took, "entries/s")
    report.figure("warming_hotter_left", gone + found.evictions, "entries", at_most=0)
    report.remark(f"{held} entries held after the start, {before} when it began: {warming.reason}")


async def _held(stub: Any) -> int:
    return int((await stub.GetStats(pb.GetStatsRequest())).entries)


async def _ended(stub: Any, warming: Any) -> Any:
    while warming.state == pb.WARMING_STATE_RUNNING:
        await asyncio.sleep(0.01)
        asked = pb.GetWarmingRequest(warming_id=warming.warming_id)
        warming = (await stub.GetWarming(asked)).warming
    return warming


class _stub:  # noqa: N801 - used as a function
    """A stub on a channel that is closed at the end."""

    def __init__(self, service: ServiceProcess) -> None:
        self._channel = grpc.aio.insecure_channel(service.address)

    async def __aenter__(self) -> Any:
        """Open it."""
        return cache_pb2_grpc.CacheServiceStub(self._channel)

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._channel.close(None)


def _curve(report: Report, folder: Path) -> None:
    path = folder / "adaptsize_requests.trace.xz"
    if not path.exists():
        report.remark(f"left out: {path} is not there; --traces says where it is")
        return
    requests = read_trace(path)
    total, curve = footprint(requests), curve_of(requests)
    for share in SHARES:
        capacity = int(total * share)
        exact = replay(requests, Lru(), capacity=capacity).hit_ratio
        error = 100 * abs(curve.hit_ratio(capacity) - exact)
        report.figure(f"warming_curve_off_{share:.0%}".rstrip("%"), error, "points", at_most=100 * MOST_OFF)


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, default=DEFAULT_TRACES, help="folder of the real traces")
    given = parser.parse_args()
    report = Report()
    report.machine()
    report.remark(
        f"{KEYS} keys of 1 KiB by Zipf {ZIPF:g}, {MEMORY >> 20} MiB of memory, "
        f"a minute of {RATE} lookups a second"
    )
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_restarts(report, Path(folder)))
        asyncio.run(_no_hotter_leaves(report, Path(folder)))
    _curve(report, given.traces)
    return int(report.short)


if __name__ == "__main__":
    sys.exit(main())
