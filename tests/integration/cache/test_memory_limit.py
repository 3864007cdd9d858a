"""A real server that is given less memory than its limit of entries asks for lives, and says what it did."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import grpc
import psutil
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

MIB = 1024 * 1024
_SERVING = re.compile(r'"port": (\d+), "metrics_port": (\d+)')
_VALUES = [os.urandom(60_000) for _ in range(8)]


def spawn(folder: Path, **environ: str) -> tuple[subprocess.Popen[str], int, int]:
    """Start a cache on a file of its own; returns it and its ports."""
    process = subprocess.Popen(
        [sys.executable, "-m", "content_cache"],
        env={
            **os.environ,
            "PORT": "0",
            "METRICS_PORT": "0",
            "STORE_URL": f"sqlite:///{folder}/cache.db",
            **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := _SERVING.search(line):
            return process, int(found[1]), int(found[2])
    raise AssertionError("the cache did not start")


def metrics(port: int) -> dict[str, float]:
    """Return the cache's metrics without labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("content_cache"))
    }


async def until_serving(channel: grpc.aio.Channel) -> None:
    """Wait for a server that listens to have loaded what was stored."""
    async for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


async def test_a_server_stays_within_its_memory(tmp_path: Path) -> None:
    """Twice what may be taken is stored: the process never exceeds it, the newest are served."""
    limit = 230 * MIB
    process, port, metrics_port = await asyncio.to_thread(
        spawn,
        tmp_path,
        CACHE_MEMORY_LIMIT_BYTES=str(limit),
        CACHE_MAX_BYTES=str(1024 * MIB),
        CACHE_MEMORY_CHECK_INTERVAL_S="0.05",
        CACHE_POLICY="gdsf",
    )
    try:
        highest = 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await until_serving(channel)
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            for number in range(0, 7_000, 8):
                sets = [
                    pb.SetRequest(key=f"k{number + at}", content=pb.EntryContent(value=value))
                    for at, value in enumerate(_VALUES)
                ]
                await stub.BatchSet(pb.BatchSetRequest(requests=sets))
                highest = max(highest, psutil.Process(process.pid).memory_info().rss)
            newest = await stub.Get(pb.GetRequest(key="k6999"))
        found = await asyncio.to_thread(metrics, metrics_port)
    finally:
        process.kill()
        process.communicate()
    assert newest.entry.value == _VALUES[-1]
    assert 0.7 * limit < highest <= limit
    assert found["content_cache_memory_limit_bytes"] == limit
    assert found["content_cache_capacity_bytes"] < 200 * MIB
    assert found['content_cache_evictions_total{cause="capacity"}'] > 3_000
    assert found["content_cache_size_bytes"] <= found["content_cache_capacity_bytes"] + 8 * MIB
