"""What the tests of the shared library share: an echo service of four shapes, and a server around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from service_common.call import CallContext, current_call
from service_common.config import CommonSettings
from service_common.errors import FieldViolation, invalid_argument
from service_common.lifecycle import Lifecycle
from service_common.rpc.interceptor import decoded_by
from service_common.rpc.server import RpcServer

SERVICE = "test.v1.EchoService"


def settings(**values: Any) -> CommonSettings:
    """Return settings that depend on nothing outside the test."""
    return CommonSettings(**{"drain_grace_s": 0.2, **values})


def reversed_text(raw: bytes) -> str:
    """Decode a request to its text, the other way round."""
    return StringValue.FromString(raw).value[::-1]


@dataclass
class Echo:
    """Answers with what it was sent; a few words make it misbehave."""

    calls: list[CallContext] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def _act(self, word: str) -> str:
        self.calls.append(current_call())
        if word == "bad":
            raise invalid_argument(FieldViolation("value", "is bad"))
        if word == "boom":
            raise RuntimeError("the secret inside")
        if word == "wait":
            self.entered.set()
            try:
                await self.gate.wait()
            finally:
                self.closed.set()
        return word

    async def unary(self, request: StringValue, context: object) -> StringValue | bytes:
        """Answer one with one."""
        word = await self._act(request.value)
        answer = StringValue(value=word)
        return answer.SerializeToString() if word == "raw" else answer

    @decoded_by(reversed_text)
    async def backwards(self, value: str, context: object) -> StringValue:
        """Answer with what the bytes were decoded to."""
        return StringValue(value=value)

    async def down(self, request: StringValue, context: object) -> AsyncIterator[StringValue | bytes]:
        """Answer one with each of its words."""
        try:
            for word in request.value.split():
                yield StringValue(value=await self._act(word))
            yield StringValue(value="end").SerializeToString()
        finally:
            self.closed.set()

    async def up(self, requests: AsyncIterator[StringValue], context: object) -> StringValue:
        """Answer many with one."""
        return StringValue(value=" ".join([await self._act(each.value) async for each in requests]))

    async def both(self, requests: AsyncIterator[StringValue], context: object) -> AsyncIterator[StringValue]:
        """Answer each with one."""
        async for each in requests:
            yield StringValue(value=await self._act(each.value))


def add_echo(servicer: Echo, server: Any) -> None:
    """Register the service as generated code does."""
    codec = (StringValue.FromString, StringValue.SerializeToString)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.unary, *codec),
        "Backwards": grpc.unary_unary_rpc_method_handler(servicer.backwards, *codec),
        "Down": grpc.unary_stream_rpc_method_handler(servicer.down, *codec),
        "Up": grpc.stream_unary_rpc_method_handler(servicer.up, *codec),
        "Both": grpc.stream_stream_rpc_method_handler(servicer.both, *codec),
    }
    server.add_registered_method_handlers(SERVICE, handlers)


class EchoStub:
    """Calls the service as a generated stub does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec = (StringValue.SerializeToString, StringValue.FromString)
        self.Unary = channel.unary_unary(f"/{SERVICE}/Unary", *codec)
        self.Down = channel.unary_stream(f"/{SERVICE}/Down", *codec)
        self.Up = channel.stream_unary(f"/{SERVICE}/Up", *codec)
        self.Both = channel.stream_stream(f"/{SERVICE}/Both", *codec)
        self.Backwards = channel.unary_unary(f"/{SERVICE}/Backwards", None, StringValue.FromString)
        self.RawUnary = channel.unary_unary(f"/{SERVICE}/Unary", None, None)
        self.RawUp = channel.stream_unary(f"/{SERVICE}/Up", None, None)


@dataclass
class Running:
    """A server that serves the echo, and a way to call it."""

    port: int
    echo: Echo
    stub: EchoStub
    server: RpcServer
    lifecycle: Lifecycle

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"


Serve = Callable[..., Any]


@asynccontextmanager
async def serving(**values: Any) -> AsyncIterator[Running]:
    """Serve the echo on a free port."""
    lifecycle = Lifecycle()
    echo = Echo()
    server = RpcServer(settings(**values), lifecycle)
    server.add(add_echo, echo)
    port = await server.start()
    await server.ready()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield Running(port, echo, EchoStub(channel), server, lifecycle)
    finally:
        echo.gate.set()
        await channel.close(None)
        await lifecycle.close()


@pytest.fixture
def serve() -> Serve:
    """Give tests the server without an import between test files."""
    return serving


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """Serve the echo with default settings."""
    async with serving() as each:
        yield each


@pytest.fixture
def echo_stub() -> type[EchoStub]:
    """Give tests the stub's class."""
    return EchoStub
