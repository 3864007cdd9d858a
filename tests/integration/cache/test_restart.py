"""What the cache holds outlives its process: after kill -9 all but the stated window."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import Any
from urllib.request import urlopen

import grpc
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.backends import Database, on_durable_stores

pytestmark = on_durable_stores
LARGEST = 1024 * 1024

_SERVING = re.compile(r'"port": (\d+), "metrics_port": (\d+)')
_PENDING = re.compile(r"^content_cache_pending_writes (\S+)$", re.MULTILINE)
_WRITTEN = re.compile(r"^content_cache_writes_total (\S+)$", re.MULTILINE)


async def started(database: Database) -> tuple[subprocess.Popen[str], str, str]:
    """Start a cache as a process; returns it, its address and its metrics once it is SERVING."""
    environ = {
        **os.environ,
        "PORT": "0",
        "METRICS_PORT": "0",
        **database.env("cache"),
    }
    process = await asyncio.to_thread(_spawn, environ)
    port, metrics_port = await asyncio.to_thread(_ports, process)
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        async for answer in health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                break
    return process, address, f"http://127.0.0.1:{metrics_port}/metrics"


async def confirmed(metrics: str, count: int) -> None:
    """Wait until the store has so many changes and none waits."""
    async with asyncio.timeout(60):
        while True:
            text = await asyncio.to_thread(_text, metrics)
            pending, written = _PENDING.search(text), _WRITTEN.search(text)
            if pending and written and float(pending[1]) == 0 and float(written[1]) >= count:
                return
            await asyncio.sleep(0.05)


def _text(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        return str(answer.read(), "utf-8")


def _spawn(environ: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "content_cache"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)


def _ports(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    for line in process.stdout:
        found = _SERVING.search(line)
        if found:
            return found[1], found[2]
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


async def test_a_stop_loses_nothing(database: Database) -> None:
    """What was stored the moment before SIGTERM is there after the next start; the exit code is 0."""
    process, address, _ = await started(database)
    await stored(address, 300)
    process.terminate()
    assert process.wait(20) == 0
    process, address, _ = await started(database)
    try:
        assert await held(address, 300) == 300
    finally:
        process.kill()
        process.communicate()


async def test_kill_9_loses_at_most_the_window(database: Database) -> None:
    """Entries whose write the store has confirmed survive kill -9."""
    process, address, metrics = await started(database)
    await stored(address, 300)
    await confirmed(metrics, 300)
    process.kill()
    process.communicate()
    process, address, _ = await started(database)
    try:
        assert await held(address, 300) == 300
    finally:
        process.kill()
        process.communicate()


async def test_a_removal_outlives_kill_9(database: Database) -> None:
    """What was deleted stays deleted over kill -9, and over a second one after what is left was loaded."""
    process, address, metrics = await started(database)
    await stored(address, 300)
    await confirmed(metrics, 300)
    await removed(address, 200)
    await confirmed(metrics, 500)
    process.kill()
    process.communicate()
    for _ in range(2):
        process, address, _ = await started(database)
        try:
            assert await held(address, 300) == 100
        finally:
            process.kill()
            process.communicate()


async def test_large_entries_outlive_kill_9(database: Database) -> None:
    """Entries of the largest size reach the store, however many came at once."""
    process, address, metrics = await started(database)
    sets = [pb.SetRequest(key=f"big{n}", content=pb.EntryContent(value=b"x" * LARGEST)) for n in range(12)]
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
        await asyncio.gather(*map(stub.Set, sets))
    await confirmed(metrics, len(sets))
    process.kill()
    process.communicate()
    process, address, _ = await started(database)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            found = [await stub.Get(pb.GetRequest(key=each.key)) for each in sets]
        assert [len(each.entry.value) for each in found] == [LARGEST] * len(sets)
    finally:
        process.kill()
        process.communicate()


async def removed(address: str, count: int) -> None:
    """Delete the first entries."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
        deletes = [pb.DeleteRequest(key=f"k{n}") for n in range(count)]
        await stub.BatchDelete(pb.BatchDeleteRequest(requests=deletes))
