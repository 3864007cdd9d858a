"""The factory command as a process, and a server of fakes for it to talk to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2_grpc
from contentfactory.tracker.v1 import tracker_pb2_grpc
from service_common.config import CommonSettings
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer

from tests.integration.cli.factory_fakes import FakeOptimizer, FakeProcessor, FakeTracker

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A small environment in which nothing is configured; tests add to it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "COLUMNS": "120", "FACTORY_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def factory(tmp_path: Path, environ: dict[str, str]) -> Run:
    """Run `factory` with some arguments in a folder of its own, to its end."""

    async def run(*arguments: str, stdin: str = "") -> Ended:
        process = await spawn(arguments, tmp_path, environ)
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await process.communicate(stdin.encode())
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run


async def spawn(
    arguments: tuple[str, ...], folder: Path, environ: dict[str, str]
) -> asyncio.subprocess.Process:
    """Start `factory`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "factory_cli",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=environ,
    )


@asynccontextmanager
async def serving(
    environ: dict[str, str],
    processor: FakeProcessor,
    *,
    tracker: FakeTracker | None = None,
    optimizer: bool = True,
) -> AsyncIterator[str]:
    """Serve fakes on one port, and tell the command through its environment."""
    lifecycle = Lifecycle()
    server = RpcServer(CommonSettings(), lifecycle)
    server.add(processor_pb2_grpc.add_ProcessorServiceServicer_to_server, processor)
    if tracker:
        server.add(tracker_pb2_grpc.add_TrackerServiceServicer_to_server, tracker)
    if optimizer:
        server.add(optimizer_pb2_grpc.add_OptimizerServiceServicer_to_server, FakeOptimizer())
    try:
        address = f"127.0.0.1:{await server.start()}"
        await server.ready()
        away = "127.0.0.1:1"
        environ["FACTORY_PROCESSOR"] = address
        environ["FACTORY_TRACKER"] = address if tracker else away
        environ["FACTORY_OPTIMIZER"] = address if optimizer else away
        environ["FACTORY_CACHE"] = away
        yield address
    finally:
        await lifecycle.close()
