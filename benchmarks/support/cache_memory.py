"""`python -m benchmarks.support.cache_memory POLICY|server COUNT`: accounted bytes, and the process's growth.

Entries of 1 KiB under keys of 64 characters: in a bare cache of a policy, or in a real server on SQLite
filled through its contract, whose durable tier has a directory in memory.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import psutil
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import make_policy
from contentfactory.cache.v1 import cache_pb2, cache_pb2_grpc
from service_common.clock import ManualClock

_WARM = 2_000
_BATCH = 200
_SETTLE_S = 3.0
_VALUE_BYTES = 1024
_PORT = re.compile(r'(?:port=|"port": )(\d+)')


def grown(name: str, count: int) -> tuple[int, int]:
    """Return what a bare cache accounts for so many entries, and what the process grew by."""
    clock = ManualClock()
    cache = ContentCache(max_bytes=1 << 40, policy=make_policy(name), clock=clock, new_token=str)
    process = psutil.Process()
    real = accounted = 0
    for number in range(count + _WARM):
        if number == _WARM:
            real, accounted = process.memory_info().rss, cache.size_bytes
        created = clock.now() + timedelta(microseconds=number)
        address = Address("a", f"{number:064x}")
        cache.set(Entry(address, bytes(_VALUE_BYTES), 1000 + number, created, created + timedelta(days=7)))
        cache.take_effects()
        cache.get(address)
    return cache.size_bytes - accounted, process.memory_info().rss - real


async def grown_server(count: int) -> tuple[int, int]:
    """Return the same of a server, by its own statistics."""
    with TemporaryDirectory() as directory:
        process, address = _server(Path(directory))
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
                await _fill(stub, 0, _WARM)
                accounted, real = await _taken(stub, process)
                await _fill(stub, _WARM, _WARM + count)
                then = await _taken(stub, process)
        finally:
            process.kill()
            process.communicate()
    return then[0] - accounted, then[1] - real


def _server(directory: Path) -> tuple[subprocess.Popen[str], str]:
    environ = {
        **os.environ,
        "PORT": "0",
        "METRICS_PORT": "0",
        "STORE_URL": f"sqlite:///{directory}/cache.db",
        "CACHE_MAX_BYTES": str(1 << 40),
    }
    command = [sys.executable, "-m", "content_cache"]
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        found = _PORT.search(line)
        if found:
            return process, f"127.0.0.1:{found[1]}"
    raise RuntimeError("the server did not start")


async def _fill(stub: Any, first: int, end: int) -> None:
    for start in range(first, end, _BATCH):
        sets = [
            cache_pb2.SetRequest(
                key=f"{number:064x}",
                content=cache_pb2.EntryContent(value=os.urandom(_VALUE_BYTES), cost_micros=1000 + number),
            )
            for number in range(start, start + _BATCH)
        ]
        await stub.BatchSet(cache_pb2.BatchSetRequest(requests=sets), wait_for_ready=True)
    await asyncio.sleep(_SETTLE_S)


async def _taken(stub: Any, process: subprocess.Popen[str]) -> tuple[int, int]:
    stats = await stub.GetStats(cache_pb2.GetStatsRequest())
    return stats.size_bytes, psutil.Process(process.pid).memory_info().rss


def main() -> None:
    """Measure what was asked for."""
    name, count = sys.argv[1], int(sys.argv[2])
    accounted, real = asyncio.run(grown_server(count)) if name == "server" else grown(name, count)
    print(accounted, real)


if __name__ == "__main__":
    main()
