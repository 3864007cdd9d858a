"""What compression saves on real generated content, and what it costs a Get.

The corpus (benchmarks/corpus) is divided by topic: dictionaries are trained on the entries of three quarters
of the topics and measured on those of the last, in turns until each topic was measured. Bytes are those of
entries as the cache holds them, key, labels, facts and checksum included. Gets are timed in turns, compressed
and not, in one process and over RPC, where both servers hold the same entries; on a busy machine look at
their processor time. Run it from the repository's root: `python -m benchmarks.cache_compression`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import grpc
import psutil
import uvloop
import zstandard
from content_cache import convert
from content_cache.answers import wire
from content_cache.cache import ContentCache
from content_cache.compression.parts import Compression, put_together
from content_cache.entry import Entry
from content_cache.eviction import Lru
from content_cache.live import LiveCache
from content_cache.repository.schema import SCHEMA
from contentfactory.cache.v1 import cache_pb2, cache_pb2_grpc
from service_common.clock import SystemClock
from service_common.storage.memory import MemoryStore

from benchmarks.corpus.reading import read
from benchmarks.rpc import spawn
from benchmarks.support.report import Report

FOLDS = 4
"""Parts the topics are divided into: one is measured, the others are trained on."""

LEAST_SAVED = 0.60
MOST_GET_RATIO = 1.3
TENANT = "default"
LEVEL = 6
THRESHOLD = 256
ROUNDS = 9
GETS = 2000
WARM_GETS = 200
WAIT_S = 60.0


def divided(
    rows: Sequence[dict[str, Any]], fold: int = 0
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what is trained on and what is measured: entries of different topics; each is in one fold."""
    pieces = Counter(each["topic"] for each in rows)
    topics = sorted(pieces, key=lambda topic: (-pieces[topic], topic))
    held_out = set(topics[fold::FOLDS])
    trained_on = [each for each in rows if each["topic"] not in held_out]
    return trained_on, [each for each in rows if each["topic"] in held_out]


def request(row: dict[str, Any]) -> cache_pb2.SetRequest:
    """Return the request that stores a row as the processor does."""
    content = cache_pb2.EntryContent(
        value=row["value"].encode(),
        content_type=row["content_type"],
        tags=row["tags"],
        metadata=row["metadata"],
        cost_micros=row["cost_micros"],
    )
    return cache_pb2.SetRequest(key=row["key"], content=content)


class PackedCache:
    """A cache in this process with compression, packed and trained when told to."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.cache = ContentCache(max_bytes=2**30, policy=Lru(), clock=self.clock, new_token=str)
        live = LiveCache(self.cache, clock=self.clock, changed=lambda *_: None)
        live.open()
        self.turn = live.operation(lambda _: None)
        self.parts: Compression = put_together(
            self.cache,
            MemoryStore(SCHEMA, self.clock),
            self.turn,
            clock=self.clock,
            observe=lambda _: None,
            below=Random(1).randrange,
            threshold=THRESHOLD,
            level=LEVEL,
        )

    async def store(self, rows: Sequence[dict[str, Any]], *, packed: bool = True) -> list[Entry]:
        """Store rows and pack them; returns the entries as they were sent."""
        entries: list[Entry] = []
        for row in rows:
            with self.turn as cache:
                entry = convert.entry_of(
                    request(row), "", tenant=TENANT, cache=cache, default_ttl=timedelta(days=7)
                )
                cache.set(entry)
            entries.append(entry)
            if packed:
                self.parts.packing.note(entry.address)
        while len(self.parts.packing):
            await self.parts.packing.round()
        return entries

    def kept_bytes(self, entry: Entry) -> int:
        """Return what an entry is kept in now."""
        held = self.cache.held(entry.address)
        return 0 if held is None else len(held.encoded)

    def get(self, entry: Entry) -> bytes:
        """Answer a Get as the servicer does."""
        with self.turn as cache:
            found = cache.get(entry.address)
            return wire.get_response(None if found is None else self.parts.opening.sent(cache, found))


async def measure_bytes(report: Report, rows: list[dict[str, Any]]) -> None:
    """Print what entries take in each way, each measured with a dictionary of other topics."""
    taken: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    plain = zstandard.ZstdCompressor(level=LEVEL)
    for fold in range(FOLDS):
        trained_on, measured = divided(rows, fold)
        if {each["topic"] for each in trained_on} & {each["topic"] for each in measured}:
            raise RuntimeError("a topic is both trained on and measured")
        without, with_it = PackedCache(), await trained(trained_on)
        entries = await without.store(measured)
        await with_it.store(measured)
        for row, entry in zip(measured, entries, strict=True):
            for count in (taken, by_type[row["metadata"]["content_type"]]):
                count["entries"] += 1
                count["raw"] += len(entry.encoded)
                count["zstd"] += len(plain.compress(entry.encoded))
                count["no_dictionary"] += without.kept_bytes(entry)
                count["dictionary"] += with_it.kept_bytes(entry)
    report.remark(f"{taken['entries']} entries of {len({each['topic'] for each in rows})} topics")
    report.remark(f"each is measured with a dictionary of the other {FOLDS - 1}/{FOLDS} of the topics")
    for name in ("raw", "zstd", "no_dictionary", "dictionary"):
        report.figure(f"compression_{name}", taken[name], "bytes")
    for name in ("zstd", "no_dictionary"):
        report.figure(f"compression_saved_{name}", 1 - taken[name] / taken["raw"], "of bytes")
    saved = 1 - taken["dictionary"] / taken["raw"]
    report.figure("compression_saved_dictionary", saved, "of bytes", at_least=LEAST_SAVED)
    for name, count in sorted(by_type.items()):
        share = 1 - count["dictionary"] / count["raw"]
        report.figure(f"compression_saved_{name}", share, f"of bytes, {count['entries']} entries")


async def trained(rows: Sequence[dict[str, Any]]) -> PackedCache:
    """Return a cache with a dictionary of these entries."""
    cache = PackedCache()
    await cache.store(rows)
    await cache.parts.training.train(TENANT)
    if cache.parts.dictionaries.latest(TENANT) is None:
        raise RuntimeError("no dictionary was trained: there is too little to learn from")
    return cache


async def measure_in_process(report: Report, rows: list[dict[str, Any]]) -> None:
    """Print what a Get costs in this process, packed beside plain: added microseconds, p50 and p99."""
    trained_on, measured = divided(rows)
    plain, packed = PackedCache(), await trained(trained_on)
    entries = await plain.store(measured, packed=False)
    await packed.store(measured)
    for each in entries:
        if cache_pb2.GetResponse.FromString(plain.get(each)).entry.value != (
            cache_pb2.GetResponse.FromString(packed.get(each)).entry.value
        ):
            raise RuntimeError("a packed entry is not what was stored")
    times: dict[str, list[float]] = {"plain": [], "packed": []}
    for number in range(GETS * ROUNDS):
        entry = entries[number % len(entries)]
        for name, cache in (("plain", plain), ("packed", packed)):
            started = time.perf_counter_ns()
            cache.get(entry)
            times[name].append((time.perf_counter_ns() - started) / 1e3)
    for name, taken in times.items():
        report.figure(f"compression_get_p50_{name}", median(taken), "us in process")
        report.figure(f"compression_get_p99_{name}", quantiles(taken, n=100)[98], "us in process")


async def measure_rpc(report: Report, rows: list[dict[str, Any]]) -> None:
    """Print the ratios of Get's p50 and p99 over RPC, medians of rounds in turns."""
    trained_on, measured = divided(rows)
    processes, calls = [], {}
    try:
        for name, mode in (("plain", "off"), ("packed", "zstd")):
            os.environ["CACHE_COMPRESSION"] = mode
            process, address = spawn("-m", "content_cache")
            processes.append(process)
            channel: Any = grpc.aio.insecure_channel(address)  # the stubs demand (de)serialisers
            await _fill(cache_pb2_grpc.CacheServiceStub(channel), trained_on, measured, packed=mode != "off")
            calls[name] = channel.unary_unary("/contentfactory.cache.v1.CacheService/Get")
        asked = [cache_pb2.GetRequest(key=each["key"]).SerializeToString() for each in measured]
        before = [_cpu_s(process) for process in processes]
        ratios = await _ratios(calls, asked)
        plain_s, packed_s = (_cpu_s(each) - then for each, then in zip(processes, before, strict=True))
    finally:
        os.environ.pop("CACHE_COMPRESSION", None)
        for process in processes:
            process.kill()
            process.communicate()
    report.figure(
        "compression_get_cpu_ratio", packed_s / plain_s, "packed/plain, the servers' processor time"
    )
    report.figure("compression_get_p50_ratio", ratios[0], "packed/plain over RPC")
    report.figure("compression_get_p99_ratio", ratios[1], "packed/plain over RPC", at_most=MOST_GET_RATIO)


def _cpu_s(process: subprocess.Popen[str]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


async def _fill(
    stub: Any, trained_on: Sequence[dict[str, Any]], measured: Sequence[dict[str, Any]], *, packed: bool
) -> None:
    """Store everything, the measured entries once there is a dictionary, and wait until they are packed."""

    async def store(rows: Sequence[dict[str, Any]]) -> None:
        response = await stub.BatchSet(
            cache_pb2.BatchSetRequest(requests=[request(each) for each in rows]), wait_for_ready=True
        )
        if any(each.HasField("error") for each in response.results):
            raise RuntimeError("an entry was not stored")

    async def until(wanted: Callable[[cache_pb2.CompressionStats], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not wanted((await stub.GetStats(cache_pb2.GetStatsRequest())).compression):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)

    await store(trained_on)
    if packed:
        await until(lambda stats: len(stats.dictionaries) > 0)
    await store(measured)
    if packed:
        await until(lambda stats: stats.dictionaries[0].packed_entries >= len(measured))


async def _ratios(
    calls: dict[str, Callable[[bytes], Awaitable[bytes]]], asked: Sequence[bytes]
) -> tuple[float, float]:
    p50s: list[float] = []
    p99s: list[float] = []
    for number in range(-1, ROUNDS):
        times: dict[str, list[float]] = {name: [] for name in calls}
        # Call by call in turns: what disturbs one disturbs the other.
        for index in range(WARM_GETS if number < 0 else GETS):
            for name, call in list(calls.items())[:: 1 if index % 2 else -1]:
                started = time.perf_counter()
                await call(asked[index % len(asked)])
                times[name].append(time.perf_counter() - started)
        if number >= 0:
            p50s.append(median(times["packed"]) / median(times["plain"]))
            p99s.append(quantiles(times["packed"], n=100)[98] / quantiles(times["plain"], n=100)[98])
    return median(p50s), median(p99s)


def main() -> int:
    """Measure bytes and time; 1 if a bar was missed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=None, help="another corpus than the recorded one")
    arguments = parser.parse_args()
    report = Report()
    report.machine()
    rows = read(arguments.corpus)
    uvloop.run(measure_bytes(report, rows))
    uvloop.run(measure_in_process(report, rows))
    uvloop.run(measure_rpc(report, rows))
    return int(report.short)


if __name__ == "__main__":
    sys.exit(main())
