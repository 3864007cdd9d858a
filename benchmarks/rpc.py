"""A bare grpc.aio echo that answers as the cache would, and what it takes to load a server with calls.

`python -m benchmarks.rpc` serves the echo on uvloop in a process of its own: what a service is compared with.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from contentfactory.cache.v1 import cache_pb2
from google.protobuf.timestamp_pb2 import Timestamp

IN_FLIGHT = 64
BATCH = 100
VALUE = os.urandom(1024)
KEYS = [f"k1-{hashlib.sha256(bytes([number])).hexdigest()}" for number in range(BATCH)]
"""As the published derivation makes them."""

PORT_FORMAT = re.compile(r'(?:port=|"port": )(\d+)')
SERVICE = "/contentfactory.cache.v1.CacheService"
Call = Callable[[], Awaitable[object]]
_A_TIME = Timestamp(seconds=1_800_000_000, nanos=123_456_000)


async def serve_echo() -> None:
    """Answer Get and BatchGet with fixed, already serialised bytes, as many as the cache's."""
    entry = cache_pb2.Entry(
        key=KEYS[0], value=VALUE, checksum=bytes(32), create_time=_A_TIME, expire_time=_A_TIME
    )
    one = cache_pb2.GetResponse(entry=entry)
    many = cache_pb2.BatchGetResponse()
    for _ in range(BATCH):
        many.results.add(value=one)
    answers = {"Get": one.SerializeToString(), "BatchGet": many.SerializeToString()}
    server: Any = grpc.aio.server()
    server.add_registered_method_handlers(
        SERVICE.strip("/"),
        {name: grpc.unary_unary_rpc_method_handler(_fixed(answer)) for name, answer in answers.items()},
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"port={port}", flush=True)
    await server.wait_for_termination()


def _fixed(answer: bytes) -> Callable[..., Awaitable[bytes]]:
    async def serve(_request: bytes, _context: object) -> bytes:
        return answer

    return serve


def spawn(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server; returns it and its address."""
    environ = {**os.environ, "PORT": "0", "METRICS_PORT": "0", "STORE_URL": "memory://"}
    environ.pop("GRPC_EXPERIMENTS", None)  # what the services set for themselves is not the echo's
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        found = PORT_FORMAT.search(line)
        if found:
            return process, f"127.0.0.1:{found[1]}"
    raise RuntimeError("the server did not start")


async def rate(call: Call, *, seconds: float) -> float:
    """Return calls per second with `IN_FLIGHT` at once."""
    done = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started)


if __name__ == "__main__":
    uvloop.run(serve_echo())
