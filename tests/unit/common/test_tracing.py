"""Spans: parents across calls, the caller's decision followed, nothing made when off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from service_common.rpc.client import ClientPool
from service_common.telemetry.tracing import (
    configure_test_tracing,
    configure_tracing,
    current_traceparent,
    parse_traceparent,
    span,
)

RECORDED = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
UNRECORDED = RECORDED[:-1] + "0"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Record spans in memory for one test."""
    memory = InMemorySpanExporter()
    configure_test_tracing(memory, ratio=0.0)
    yield memory
    configure_tracing("test", "0", endpoint=None, ratio=0)


async def test_one_trace_through_client_and_server(
    exporter: InMemorySpanExporter, running: Any, echo_stub: Any
) -> None:
    """A span continues its parent, and the server's span is the child of the caller's."""
    async with ClientPool(echo_stub, targets=running.address, name="n") as pool:
        with span("work", parent=RECORDED, attributes={"items": 3}):
            await pool.call(lambda stub: stub.Unary, StringValue(value="a"), timeout_s=5)
    server, work = exporter.get_finished_spans()
    assert (server.name, work.name) == ("test.v1.EchoService/Unary", "work")
    assert f"{work.context.trace_id:032x}" == "a" * 32
    assert work.parent is not None
    assert f"{work.parent.span_id:016x}" == "b" * 16
    assert server.parent is not None
    assert server.parent.span_id == work.context.span_id
    assert server.context.trace_id == work.context.trace_id


async def test_a_failed_call_marks_its_span(exporter: InMemorySpanExporter, running: Any) -> None:
    """The span tells kind and reason of the error."""
    with pytest.raises(grpc.aio.AioRpcError):
        await running.stub.Unary(StringValue(value="bad"), metadata=(("traceparent", RECORDED),))
    (server,) = exporter.get_finished_spans()
    assert server.status.status_code is StatusCode.ERROR
    assert server.attributes is not None
    assert server.attributes["error.reason"] == "INVALID_FIELD"


async def test_an_unrecorded_trace_makes_no_spans_but_goes_on(
    exporter: InMemorySpanExporter, running: Any
) -> None:
    """The caller's decision not to record is followed and handed on; so is our own."""
    await running.stub.Unary(StringValue(value="a"), metadata=(("traceparent", UNRECORDED),))
    await running.stub.Unary(StringValue(value="a"))
    first, second = running.echo.calls
    assert first.traceparent == UNRECORDED
    assert second.traceparent is not None
    assert second.traceparent.endswith("-00")
    assert exporter.get_finished_spans() == ()


def test_off_means_nothing() -> None:
    """Without an endpoint a span is the shared invalid one and there is no context to hand on."""
    configure_tracing("test", "0", endpoint=None, ratio=1)
    with span("work") as made:
        assert not made.is_recording()
        assert current_traceparent() is None


@pytest.mark.parametrize(
    "text", ["", "x", RECORDED + "0", RECORDED.replace("a", "0"), RECORDED.replace("b", "0")]
)
def test_what_is_no_traceparent_is_ignored(text: str) -> None:
    """Malformed and all-zero contexts begin no trace."""
    assert parse_traceparent(text) is None
