"""A service of the factory as a process, with fake servicers and the real server around them.

Run as `python -m content_cache` and so on, through stand-in packages that the tests put first on the path.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from contentfactory.cache.v1 import cache_pb2_grpc
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2_grpc
from contentfactory.tracker.v1 import tracker_pb2_grpc
from service_common.config import CommonSettings
from service_common.lifecycle import Lifecycle
from service_common.process import run_service
from service_common.rpc.server import RpcServer

from tests.integration.cli.factory_fakes import FakeOptimizer, FakeProcessor, FakeTracker

_CACHE: Any = cache_pb2_grpc.CacheServiceServicer  # nobody calls it; the base answers UNIMPLEMENTED
MODULES = {
    "cache": "content_cache",
    "optimizer": "prompt_optimizer",
    "processor": "parallel_processor",
    "tracker": "progress_tracker",
}


def _serve(name: str) -> Callable[[CommonSettings, Lifecycle], Awaitable[None]]:
    async def serve(settings: CommonSettings, lifecycle: Lifecycle) -> None:
        server = RpcServer(settings, lifecycle)
        if name == "cache":
            server.add(cache_pb2_grpc.add_CacheServiceServicer_to_server, _CACHE())
        elif name == "optimizer":
            server.add(optimizer_pb2_grpc.add_OptimizerServiceServicer_to_server, FakeOptimizer())
        elif name == "processor":
            server.add(processor_pb2_grpc.add_ProcessorServiceServicer_to_server, FakeProcessor())
        else:
            server.add(tracker_pb2_grpc.add_TrackerServiceServicer_to_server, FakeTracker(FakeProcessor()))
        await server.start()
        await server.ready()

    return serve


def main(name: str) -> None:
    """Run one of the four."""
    sys.exit(run_service(CommonSettings, _serve(name), name=name))


def install(folder: Path) -> str:
    """Write stand-in packages for the four services; returns the PYTHONPATH that puts them first."""
    root = Path(__file__).parents[3]
    for name, module in MODULES.items():
        package = folder / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(
            f"from tests.integration.cli.fake_service import main\n\nmain({name!r})\n"
        )
    return f"{folder}:{root}"
