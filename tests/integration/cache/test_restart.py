"""What the cache holds outlives its process: after kill -9 all but the stated window."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SERVING = re.compile(r'"port": (\d+)')


async def started(tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a cache as a process; returns it and its address once it is SERVING."""
    environ = {
        **os.environ,
        "PORT": "0",
        "METRICS_PORT": "0",
        "STORE_URL": f"sqlite:///{tmp_path}/cache.db",
    }
    process = await asyncio.to_thread(_spawn, environ)
    port = await asyncio.to_thread(_port, process)
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        async for answer in health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                break
    return process, address


def _spawn(environ: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "content_cache"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)


def _port(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        found = _SERVING.search(line)
        if found:
            return found[1]
    raise AssertionError("the cache did not start")


async def stored(address: str, count: int) -> None:
    """Store entries."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
        sets = [pb.SetRequest(key=f"k{n}", content=pb.EntryContent(value=b"x" * n)) for n in range(count)]
        await stub.BatchSet(pb.BatchSetRequest(requests=sets))


async def held(address: str, count: int) -> int:
    """Return how many of them are there, unharmed."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
        gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=f"k{n}") for n in range(count)])
        results = (await stub.BatchGet(gets)).results
        assert all(len(each.value.entry.value) in {0, n} for n, each in enumerate(results))
        return sum(each.value.HasField("entry") for each in results)


async def test_a_stop_loses_nothing(tmp_path: Path) -> None:
    """What was stored the moment before SIGTERM is there after the next start; the exit code is 0."""
    process, address = await started(tmp_path)
    await stored(address, 300)
    process.terminate()
    assert process.wait(20) == 0
    process, address = await started(tmp_path)
    try:
        assert await held(address, 300) == 300
    finally:
        process.kill()
        process.communicate()


async def test_kill_9_loses_at_most_the_window(tmp_path: Path) -> None:
    """Entries whose write the store has confirmed survive kill -9."""
    process, address = await started(tmp_path)
    await stored(address, 300)
    await asyncio.sleep(1.5)
    process.kill()
    process.communicate()
    process, address = await started(tmp_path)
    try:
        assert await held(address, 300) == 300
    finally:
        process.kill()
        process.communicate()
