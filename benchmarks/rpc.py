"""What the cache's hot path costs beside a bare grpc.aio echo, in one run, on this machine, over loopback.

Both servers run on uvloop in processes of their own and are asked in turns; the median of the turns' ratios
counts, since a turn differs from the next by more than what is measured. Prints
`BENCH name value unit bar >=X ok|short`.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import grpc
import uvloop
from contentfactory.cache.v1 import cache_pb2, cache_pb2_grpc

IN_FLIGHT = 64
ROUNDS = 9
ROUND_S = 1.0
BATCH = 100
VALUE = os.urandom(1024)
PORT_FORMAT = re.compile(r'(?:port=|"port": )(\d+)')
SERVICE = "/contentfactory.cache.v1.CacheService"
CACHE_SOURCE = ("-m", "content_cache")
Call = Callable[[], Awaitable[object]]


async def serve_echo() -> None:
    """Answer Get and BatchGet with fixed, already serialised bytes."""
    entry = cache_pb2.Entry(key="k0", value=VALUE)
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


async def rate(call: Call) -> float:
    """Return calls per second with `IN_FLIGHT` at once."""
    done = 0
    end = time.perf_counter() + ROUND_S

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started)


async def compare(addresses: dict[str, str]) -> None:
    """Measure both servers in turns and print their rates and the ratio, medians of the turns."""
    calls: dict[tuple[str, str], Call] = {}
    get = cache_pb2.GetRequest(key="k0").SerializeToString()
    keys = [cache_pb2.GetRequest(key=f"k{number}") for number in range(BATCH)]
    batch = cache_pb2.BatchGetRequest(requests=keys).SerializeToString()
    for name, address in addresses.items():
        channel: Any = grpc.aio.insecure_channel(address)  # the stubs demand (de)serialisers
        if name == "cache":
            await _fill(cache_pb2_grpc.CacheServiceStub(channel), batch)
        # Bytes in, bytes out: a client that parses would be what is measured.
        calls[name, "get"] = partial(channel.unary_unary(f"{SERVICE}/Get"), get)
        calls[name, "batch_get"] = partial(channel.unary_unary(f"{SERVICE}/BatchGet"), batch)
    for operation, per_call, bar in (("get", 1, 0.70), ("batch_get", BATCH, 0.50)):
        rates: dict[str, list[float]] = {name: [] for name in addresses}
        for _ in range(ROUNDS):
            for name in addresses:
                rates[name].append(per_call * await rate(calls[name, operation]))
        ratio = median(cache / echo for cache, echo in zip(rates["cache"], rates["echo"], strict=True))
        for name in addresses:
            print(f"BENCH rpc_{operation}_{name} {median(rates[name]):.0f} keys/s")
        verdict = "ok" if ratio >= bar else "short"
        print(f"BENCH rpc_{operation}_of_echo {ratio:.2f} ratio bar >={bar:.2f} {verdict}")


async def _fill(stub: Any, batch: bytes) -> None:
    sets = [
        cache_pb2.SetRequest(key=f"k{number}", content=cache_pb2.EntryContent(value=VALUE))
        for number in range(BATCH)
    ]
    await stub.BatchSet(cache_pb2.BatchSetRequest(requests=sets), wait_for_ready=True)
    found = await stub.BatchGet(cache_pb2.BatchGetRequest.FromString(batch))
    if not all(each.value.entry.value == VALUE for each in found.results):
        raise RuntimeError("the cache does not serve what was stored")


def main() -> None:
    """Run both servers and compare."""
    if "--echo" in sys.argv:
        uvloop.run(serve_echo())
        return
    print(f"# {platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    echo, echo_address = spawn(__file__, "--echo")
    cache, cache_address = spawn(*CACHE_SOURCE)
    try:
        time.sleep(0.5)
        uvloop.run(compare({"echo": echo_address, "cache": cache_address}))
    finally:
        for process in (echo, cache):
            process.kill()
            process.communicate()


if __name__ == "__main__":
    main()
