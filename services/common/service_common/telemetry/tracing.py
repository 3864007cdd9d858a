"""Spans in one trace across services: W3C context in and out, OTLP export, and next to no cost when off.

A trace is recorded when its caller records it, or by the sampling ratio when it begins here. An unrecorded
trace makes no span objects at all: its context is only handed on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from service_common.call import current_call_or_none

TRACEPARENT = "traceparent"
_FORMAT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1
_INVALID = trace.INVALID_SPAN

Attributes = Mapping[str, AttributeValue]


class Tracing:
    """Where this process's spans go.

    Attributes:
        enabled: Whether spans go anywhere.
    """

    def __init__(self, provider: TracerProvider | None, ratio: float) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("contentfactory") if provider else None
        self._ratio = ratio
        self.enabled = provider is not None

    def start(self, name: str, kind: SpanKind, parent: str | None, attributes: Attributes) -> Span:
        """Start a span, or return one that records nothing.

        Args:
            name: What is done, of bounded cardinality.
            kind: Its role in a call.
            parent: W3C traceparent it continues; None begins a trace.
            attributes: Known facts.
        """
        if self._tracer is None:
            return _INVALID
        remote = parse_traceparent(parent) if parent else None
        sampled = remote.trace_flags.sampled if remote else random.random() < self._ratio
        if not sampled:
            return NonRecordingSpan(remote or _unrecorded())
        above = trace.set_span_in_context(NonRecordingSpan(remote)) if remote else otel_context.Context()
        return self._tracer.start_span(name, context=above, kind=kind, attributes=attributes)

    def close(self) -> None:
        """Send what is buffered and stop; bounded by the exporter's own timeout."""
        if self._provider is not None:
            self._provider.shutdown()


_active = Tracing(None, 0.0)


def configure_tracing(service: str, version: str, *, endpoint: str | None, ratio: float) -> Tracing:
    """Turn tracing on when an endpoint is given.

    Args:
        service: `service.name` of every span.
        version: `service.version` of every span.
        endpoint: OTLP gRPC endpoint; None leaves tracing off.
        ratio: Share of traces beginning here that are recorded.

    Returns:
        The process's tracing; its owner closes it last.
    """
    if endpoint is None:
        return _activate(Tracing(None, 0.0))
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=3)
    return _activate(Tracing(_provider(service, version, BatchSpanProcessor(exporter)), ratio))


def configure_test_tracing(exporter: SpanExporter, *, service: str = "test", ratio: float = 1.0) -> Tracing:
    """Send each span to an exporter as it ends; for tests, with the SDK's in-memory exporter."""
    return _activate(Tracing(_provider(service, "test", SimpleSpanProcessor(exporter)), ratio))


def _provider(service: str, version: str, processor: SpanProcessor) -> TracerProvider:
    # The decision is ours (see `start`): whatever reaches the SDK is recorded.
    resource = Resource.create({"service.name": service, "service.version": version})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def _activate(tracing: Tracing) -> Tracing:
    global _active  # noqa: PLW0603 - one tracing per process, like the registry of metrics
    _active = tracing
    return tracing


def active_tracing() -> Tracing:
    """Return the process's tracing."""
    return _active


def _unrecorded() -> SpanContext:
    """Begin a trace nobody records, so that the services behind follow this decision."""
    return SpanContext(
        trace_id=random.getrandbits(128) or 1, span_id=random.getrandbits(64) or 1, is_remote=False
    )


def parse_traceparent(text: str) -> SpanContext | None:
    """Read a W3C traceparent; None when it is not one."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        return None
    context = SpanContext(
        trace_id=int(match[1], 16),
        span_id=int(match[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[3], 16)),
    )
    return context if context.is_valid else None


def format_traceparent(context: SpanContext) -> str:
    """Write a W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & _SAMPLED:02x}"


def current_traceparent() -> str | None:
    """Return the context to hand on: of the innermost span, else of the call being served."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return format_traceparent(context)
    call = current_call_or_none()
    return call.traceparent if call else None


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    attributes: Attributes | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """Record what happens within; an exception marks the span and goes on.

    Args:
        name: What is done, of bounded cardinality.
        parent: W3C traceparent to continue; by default the current span's or call's.
        attributes: Known facts.
        kind: Its role in a call.
    """
    tracing = _active
    if not tracing.enabled:
        yield _INVALID
        return
    started = tracing.start(name, kind, parent or current_traceparent(), attributes or {})
    with trace.use_span(started, end_on_exit=True):
        yield started
