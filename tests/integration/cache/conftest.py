"""A real cache server on free ports, in this process, and callers of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from content_cache.app import start
from content_cache.config import Settings
from contentfactory.cache.v1 import cache_pb2_grpc
from service_common.clock import SystemClock
from service_common.config import load
from service_common.lifecycle import Lifecycle

from tests.support.backends import Database


@dataclass(frozen=True, slots=True)
class Running:
    """A server and a caller of it."""

    stub: cache_pb2_grpc.CacheServiceAsyncStub
    port: int
    metrics_port: int
    stop: Callable[[], Awaitable[None]]


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve(database: Database) -> AsyncIterator[Serve]:
    """Start servers that are stopped after the test, all on one store."""
    async with AsyncExitStack() as stack:

        async def one(**environ: str) -> Running:
            lifecycle = Lifecycle()
            stack.push_async_callback(lifecycle.close)
            given = {
                "PORT": "0",
                "METRICS_PORT": "0",
                **database.env("cache"),
                "DRAIN_GRACE_S": "2",
                **environ,
            }
            server = await start(load(Settings, given), lifecycle, clock=SystemClock())
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            return Running(stub, server.port, server.metrics_port, lifecycle.close)

        yield one


@pytest.fixture
async def running(serve: Serve) -> Running:
    """One server with its defaults."""
    return await serve()


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """Tokens of two tenants whose names look alike, one of them with a look-alike of the other's keys."""
    path = tmp_path / "tokens.json"
    path.write_text(
        json.dumps([{"token": f"token-{tenant}", "tenant": tenant, "user": "u"} for tenant in ("a", "a_b")])
    )
    return path
