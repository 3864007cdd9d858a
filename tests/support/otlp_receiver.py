"""A local OTLP receiver: keeps the spans that services export, to be looked at by tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One exported span; ids are lower-case hexadecimal.

    Attributes:
        service: Who made it.
        name: What was done.
        is_server: Whether it is the serving side of a call.
        trace_id: Its trace.
        span_id: Its own id.
        parent_id: Its parent's; empty for a root.
    """

    service: str
    name: str
    is_server: bool
    trace_id: str
    span_id: str
    parent_id: str


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes what is exported.

    Attributes:
        endpoint: What to set as OTEL_EXPORTER_OTLP_ENDPOINT.
        spans: What came so far.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[SpanRecord] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Keep a batch of spans."""
        for resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_record(attributes["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[SpanRecord]:
        """Return the spans of one trace."""
        return [each for each in self.spans if each.trace_id == trace_id]


def _record(service: str, span: trace_pb2.Span) -> SpanRecord:
    return SpanRecord(
        service,
        span.name,
        span.kind == trace_pb2.Span.SPAN_KIND_SERVER,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
    )


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a receiver on a free port for as long as the context lasts."""
    receiver = OtlpReceiver()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]  # generated without types
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()
