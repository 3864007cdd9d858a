"""Real optimizers on free ports: in this process, or as processes of their own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from prompt_optimizer.app import serve
from prompt_optimizer.config import OptimizerSettings
from service_common.config import load
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.rpc.status import from_rpc_error

from tests.support.backends import Database

TOKENS = [
    {"token": "acme-secret", "tenant": "acme", "user": "ann"},
    {"token": "umbrella-secret", "tenant": "umbrella", "user": "uma"},
    {"token": "service-secret", "tenant": "service", "user": "processor", "roles": ["act_as"]},
]


@dataclass(frozen=True)
class Running:
    """One optimizer and a way to call it as each tenant."""

    lifecycle: Lifecycle
    port: int
    metrics_port: int
    stack: AsyncExitStack

    async def client(self, tenant: str = "acme") -> optimizer_pb2_grpc.OptimizerServiceAsyncStub:
        """Return a stub that calls as this tenant."""
        token = f"{tenant}-secret"
        interceptors: Any = [_UnaryBearer(token), _StreamBearer(token)]  # their stubs are unfinished
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", interceptors=interceptors)
        await self.stack.enter_async_context(channel)
        return optimizer_pb2_grpc.OptimizerServiceStub(channel)


# grpc.aio takes each interceptor for one shape of call only.
class _UnaryBearer(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Add the credential."""
        return await continuation(details._replace(metadata=self._metadata), request)


class _StreamBearer(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """Add the credential."""
        return await continuation(details._replace(metadata=self._metadata), request)


Start = Callable[[], Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start optimizers on one store; each call one more."""
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(TOKENS))
    settings = load(
        OptimizerSettings,
        {
            "PORT": "0",
            "METRICS_PORT": "0",
            **database.env("optimizer"),
            "AUTH_TOKENS_FILE": str(tokens),
            "OPTIMIZER_POLL_INTERVAL_S": "0.05",
            "OPTIMIZER_FLUSH_INTERVAL_S": "0.05",
            "DRAIN_GRACE_S": "1",
        },
    )
    servers: list[RpcServer] = []
    started = RpcServer.start

    async def remember(server: RpcServer) -> int:
        servers.append(server)
        return await started(server)

    monkeypatch.setattr(RpcServer, "start", remember)
    lifecycles: list[Lifecycle] = []
    async with AsyncExitStack() as stack:

        async def start_one() -> Running:
            lifecycle = Lifecycle()
            lifecycles.append(lifecycle)
            await serve(settings, lifecycle)
            return Running(lifecycle, servers[-1].port, servers[-1].metrics_port, stack)

        yield start_one
    for each in lifecycles:
        await each.close()


@pytest.fixture
async def running(start: Start) -> Running:
    """One optimizer."""
    return await start()


@pytest.fixture
async def client(running: Running) -> optimizer_pb2_grpc.OptimizerServiceAsyncStub:
    """Call it as tenant acme."""
    return await running.client()


def source(text: str = "Write about {{ topic }}.", *, max_tokens: int = 100) -> pb.TemplateSource:
    """Return a small source with the variables topic (required) and tone."""
    return pb.TemplateSource(
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=text)],
        variables=[
            pb.TemplateSource.Variable(name="topic", required=True),
            pb.TemplateSource.Variable(name="tone", default_value="calm"),
        ],
        sampling=pb.SamplingParameters(max_tokens=max_tokens, temperature=0.5),
    )


async def error_of(call: Awaitable[object]) -> ServiceError:
    """Make a call that must fail and return its error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)
