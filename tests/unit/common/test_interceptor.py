"""The call layer over a real server: four shapes, errors as callers see them, cancellation, admission."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from service_common.errors import ErrorKind, FieldViolation, ServiceError
from service_common.rpc.observe import HANDLED
from service_common.rpc.status import from_rpc_error

GARBAGE = b"\x0a\x05\xff"
BAD_UTF8 = b"\x0a\x02\xff\xfe"


def text(value: str) -> StringValue:
    """Make a message."""
    return StringValue(value=value)


async def stream(*values: str) -> AsyncIterator[StringValue]:
    """Make a stream of messages."""
    for value in values:
        yield text(value)


async def failure(call: Awaitable[Any]) -> ServiceError:
    """Return the error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def collect(call: Any) -> list[str]:
    """Return the texts of a response stream."""
    return [each.value async for each in call]


SHAPES: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "Unary": lambda stub, word: stub.Unary(text(word)),
    "Down": lambda stub, word: collect(stub.Down(text(word))),
    "Up": lambda stub, word: stub.Up(stream(word)),
    "Both": lambda stub, word: collect(stub.Both(stream(word))),
}


async def test_all_shapes_carry_messages(running: Any) -> None:
    """Each shape delivers messages and bytes already serialised, in order."""
    assert (await running.stub.Unary(text("a"))).value == "a"
    assert (await running.stub.Unary(text("raw"))).value == "raw"
    assert await collect(running.stub.Down(text("a b"))) == ["a", "b", "end"]
    assert (await running.stub.Up(stream("a", "b"))).value == "a b"
    assert await collect(running.stub.Both(stream("a", "b"))) == ["a", "b"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_service_errors_reach_the_caller_whole(running: Any, shape: str) -> None:
    """Kind, reason and field violations survive the wire in every shape."""
    error = await failure(SHAPES[shape](running.stub, "bad"))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert error.reason == "INVALID_FIELD"
    assert error.violations == (FieldViolation("value", "is bad"),)


@pytest.mark.parametrize("shape", SHAPES)
async def test_unexpected_errors_hide_their_text(running: Any, shape: str) -> None:
    """An unexpected exception is INTERNAL with a request id and without its own words."""
    error = await failure(SHAPES[shape](running.stub, "boom"))
    assert error.kind is ErrorKind.INTERNAL
    assert "secret" not in error.message
    assert error.metadata["request_id"] in error.message
    assert error.metadata["request_id"] == running.echo.calls[-1].request_id


@pytest.mark.parametrize("raw", [GARBAGE, BAD_UTF8])
async def test_undecodable_bytes_are_the_callers_fault(running: Any, raw: bytes) -> None:
    """Bytes that are no message give INVALID_ARGUMENT, alone and in a stream, and the server lives on."""

    async def requests() -> AsyncIterator[bytes]:
        yield text("fine").SerializeToString()
        yield raw

    for call in (running.stub.RawUnary(raw), running.stub.RawUp(requests())):
        error = await failure(call)
        assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert (await running.stub.Unary(text("a"))).value == "a"


async def test_a_method_may_decode_its_requests_itself(running: Any) -> None:
    """It is given what its own decoder makes of the bytes; what that refuses is the caller's fault."""
    assert (await running.stub.Backwards(text("abc").SerializeToString())).value == "cba"
    error = await failure(running.stub.Backwards(GARBAGE))
    assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "MALFORMED_REQUEST")


@pytest.mark.parametrize("shape", ["Unary", "Down"])
async def test_cancelling_a_call_cancels_its_handler(running: Any, shape: str) -> None:
    """The handler of a cancelled call stops at its await and runs its clean-up."""
    call = getattr(running.stub, shape)(text("wait"))
    waiting = asyncio.ensure_future(call.read() if shape == "Down" else _result(call))
    await running.echo.entered.wait()
    call.cancel()
    await asyncio.wait_for(running.echo.closed.wait(), 5)
    await asyncio.gather(waiting, return_exceptions=True)


async def _result(call: Any) -> Any:
    return await call


async def test_leaving_a_stream_closes_the_generator(running: Any) -> None:
    """A response stream nobody reads any more ends its generator's `finally`."""
    call = running.stub.Down(text("a wait"))
    assert (await call.read()).value == "a"
    await running.echo.entered.wait()
    running.echo.closed.clear()
    call.cancel()
    await asyncio.wait_for(running.echo.closed.wait(), 5)


async def test_beyond_the_limit_calls_are_refused_with_a_time(serve: Any) -> None:
    """With every place taken a call gets RESOURCE_EXHAUSTED and RetryInfo; a freed place is given again."""
    async with serve(max_concurrent_rpcs=1) as running:
        waiting = asyncio.ensure_future(_result(running.stub.Unary(text("wait"))))
        await running.echo.entered.wait()
        error = await failure(running.stub.Unary(text("a")))
        assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert error.retry_after is not None
        assert await collect(running.stub.Down(text("a"))) == ["a", "end"]
        running.echo.gate.set()
        await waiting
        assert (await running.stub.Unary(text("a"))).value == "a"


async def test_the_handler_knows_its_call(running: Any) -> None:
    """Deadline, request id and trace context of the caller are the handler's."""
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    metadata = (("x-request-id", "given-1"), ("traceparent", traceparent))
    await running.stub.Unary(text("a"), timeout=50, metadata=metadata)
    await running.stub.Unary(text("a"), metadata=(("x-request-id", "not acceptable\n"[:14]),))
    first, second = running.echo.calls
    assert (first.request_id, first.traceparent) == ("given-1", traceparent)
    assert first.deadline is not None
    assert second.deadline is None
    assert second.request_id != "not acceptable"
    assert (first.principal.tenant, first.principal.user) == ("default", "local")


async def test_each_call_is_counted_once_by_its_code(running: Any) -> None:
    """The counter grows by one with the code the caller saw."""

    def count(code: str) -> int:
        return HANDLED.labels("test.v1.EchoService", "Unary", code).value

    before = {code: count(code) for code in ("OK", "INVALID_ARGUMENT", "INTERNAL")}
    await running.stub.Unary(text("a"))
    await failure(running.stub.Unary(text("bad")))
    await failure(running.stub.Unary(text("boom")))
    assert {code: count(code) - before[code] for code in before} == dict.fromkeys(before, 1)


async def test_a_cancelled_call_is_counted_as_such(running: Any) -> None:
    """A call whose caller left is counted once, as CANCELLED."""
    cancelled = HANDLED.labels("test.v1.EchoService", "Unary", "CANCELLED")
    before = cancelled.value
    waiting = asyncio.ensure_future(_result(call := running.stub.Unary(text("wait"))))
    await running.echo.entered.wait()
    call.cancel()
    await asyncio.wait_for(running.echo.closed.wait(), 5)
    await asyncio.gather(waiting, return_exceptions=True)
    await running.stub.Unary(text("a"))
    assert cancelled.value - before == 1


async def test_many_violations_still_fit_the_wire(running: Any, monkeypatch: Any) -> None:
    """However much is wrong with a request, the error arrives as itself."""
    many = [FieldViolation(f"items[{n}].name" * 9, "wrong \ud800" * 99) for n in range(500)]

    async def act(word: str) -> str:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", "ü" * 99_999, violations=many)

    monkeypatch.setattr(running.echo, "_act", act)
    error = await failure(running.stub.Unary(text("a")))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert error.violations[0].field.startswith("items[0].name")
