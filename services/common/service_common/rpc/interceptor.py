"""Everything that happens around a handler, fused into one layer for all four shapes of call.

Around each call, in this order: request id, admission, credential, deadline, server span; then the handler;
then the status, metrics and one log line. A servicer takes messages and returns messages (or bytes already
serialised) and raises `ServiceError`; a response stream is an async generator. It never calls `abort`.

The layer is put around each handler once, when it is registered: a grpc.aio interceptor would be looked up
and awaited anew for every call. Handlers take raw bytes, so that bytes which are no message are the
caller's INVALID_ARGUMENT and not gRPC's INTERNAL.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from service_common.call import REQUEST_ID, CallContext, enter_call
from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.admission import Admission
from service_common.rpc.auth import Authenticator
from service_common.rpc.observe import MethodObserver
from service_common.rpc.status import abort, grpc_code, internal_error
from service_common.telemetry.tracing import TRACEPARENT, active_tracing, format_traceparent

_REQUEST_ID_FORMAT = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Body = Callable[[Any, Context], Awaitable[Any]]
"""Serves a call: returns its response, a message or bytes; None where it has sent its responses itself."""
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Metadata = Mapping[str, str | bytes]
BehaviourT = TypeVar("BehaviourT", bound=Callable[..., Any])
_DECODE = "decoded_by"
_NO_ATTRIBUTES: Mapping[str, str] = {}
_PROCESS = f"{random.getrandbits(32):08x}"
_numbers = count()
"""Calls that bring no request id are named by this process's name and a number."""


@dataclass(frozen=True, slots=True)
class _Method:
    """One method as registered."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    behaviour: Callable[..., Any]
    observer: MethodObserver
    admission: Admission


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a call ended that did not end well.

    Attributes:
        code: What the caller gets.
        shown: What the caller may see of it; None if it has been told, or is gone.
        reason: Of what is shown.
        detail: What only the log may have.
    """

    code: grpc.StatusCode
    shown: ServiceError | None = None
    reason: str = ""
    detail: BaseException | None = None


def decoded_by(decode: Callable[[bytes], Any]) -> Callable[[BehaviourT], BehaviourT]:
    """Let a method of a servicer be given what this makes of a request's bytes, instead of the message.

    Args:
        decode: Raises DecodeError or ValueError for bytes that are not the method's request.
    """

    def mark(behaviour: BehaviourT) -> BehaviourT:
        setattr(behaviour, _DECODE, decode)
        return behaviour

    return mark


class CallLayer:
    """Wraps handlers; shared by every service of a server."""

    def __init__(
        self, authenticator: Authenticator, *, clock: Clock, max_unary: int, max_streams: int
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._unary = Admission(max_unary, "calls")
        self._streams = Admission(max_streams, "streams")

    def wrap(self, service: str, method: str, handler: Handler) -> Handler:
        """Return the handler with everything around it.

        Args:
            service: Full name of the service.
            method: Name of the method in it.
            handler: As generated code makes it.
        """
        streams = bool(handler.request_streaming or handler.response_streaming)
        behaviour = _behaviour(handler)
        known = _Method(
            name=f"{service}/{method}",
            decode=getattr(behaviour, _DECODE, handler.request_deserializer) or bytes,
            encode=handler.response_serializer or bytes,
            behaviour=behaviour,
            observer=MethodObserver(service, method, streams=streams),
            admission=self._streams if streams else self._unary,
        )
        serve = self._around(
            known, _BODIES[bool(handler.request_streaming), bool(handler.response_streaming)](known)
        )
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(serve)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(serve)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(serve)
        return grpc.unary_unary_rpc_method_handler(serve)

    def _around(self, method: _Method, body: Body) -> Body:
        """Return what grpc.aio calls: the body of a method with everything around it."""
        monotonic, admission, observer = self._clock.monotonic, method.admission, method.observer
        encode = method.encode

        async def serve(request: Any, context: Context) -> bytes | None:
            started = monotonic()
            metadata: _Metadata = dict(context.invocation_metadata() or ())
            given = metadata.get(REQUEST_ID)
            request_id = f"{_PROCESS}{next(_numbers):08x}" if given is None else _request_id(given)
            try:
                if admission.active >= admission.limit:
                    raise admission.refusal()  # noqa: TRY301 - one step, for every call passes here
                admission.active += 1
                try:
                    span = self._open(method, context, metadata, request_id)
                    if span is None:
                        response = await body(request, context)
                    else:
                        response = await _traced(span, body, request, context)
                    if type(response) is not bytes and response is not None:
                        response = encode(response)
                finally:
                    admission.active -= 1
            except (Exception, asyncio.CancelledError) as error:
                failure = _failure(error, context, request_id)
                observer.failed(
                    failure.code,
                    monotonic() - started,
                    request_id=request_id,
                    reason=failure.reason,
                    failure=failure.detail,
                )
                if failure.shown is None:
                    raise
                return await abort(context, failure.shown)
            observer.succeeded(monotonic() - started, request_id)
            return response  # type: ignore[no-any-return]  # bytes or None by now

        return serve

    def _open(self, method: _Method, context: Context, metadata: _Metadata, request_id: str) -> Span | None:
        """Make the call current, without awaiting: everything a handler may rely on is set here.

        Returns:
            The span that records the call, if it is recorded.
        """
        principal = self._authenticator.authenticate(metadata)
        remaining: float | None = context.time_remaining()  # typed as always known by the stubs
        deadline = None if remaining is None else self._clock.monotonic() + remaining
        incoming = metadata.get(TRACEPARENT)
        traceparent = incoming if isinstance(incoming, str) else None
        tracing, span = active_tracing(), None
        if tracing.enabled:
            span = tracing.start(method.name, SpanKind.SERVER, traceparent, _NO_ATTRIBUTES)
            traceparent = format_traceparent(span.get_span_context())
        enter_call(CallContext(principal, request_id, deadline, traceparent))
        return span if span is not None and span.is_recording() else None


def _unary_unary(method: _Method) -> Body:
    decode, behaviour = method.decode, method.behaviour

    def body(raw: bytes, context: Context) -> Awaitable[Any]:
        try:
            request = decode(raw)
        except (DecodeError, ValueError) as error:
            raise _malformed() from error
        return behaviour(request, context)  # type: ignore[no-any-return]  # a handler's coroutine

    return body


def _stream_unary(method: _Method) -> Body:
    async def body(raw: AsyncIterator[bytes], context: Context) -> Any:
        async with aclosing(_decoded(method, raw)) as requests:
            return await method.behaviour(requests, context)

    return body


def _unary_stream(method: _Method) -> Body:
    async def body(raw: bytes, context: Context) -> None:
        await _send_all(method, method.behaviour(_request(method, raw), context), context)

    return body


def _stream_stream(method: _Method) -> Body:
    async def body(raw: AsyncIterator[bytes], context: Context) -> None:
        async with aclosing(_decoded(method, raw)) as requests:
            await _send_all(method, method.behaviour(requests, context), context)

    return body


_BODIES: Mapping[tuple[bool, bool], Callable[[_Method], Body]] = {
    (False, False): _unary_unary,
    (True, False): _stream_unary,
    (False, True): _unary_stream,
    (True, True): _stream_stream,
}
"""By whether the request and whether the response is a stream."""


def _failure(error: BaseException, context: Context, request_id: str) -> _Failure:
    if isinstance(error, asyncio.CancelledError):
        return _Failure(_code_of_cancellation(context))
    if isinstance(error, grpc.aio.AbortError):
        return _Failure(context.code())
    shown = error if isinstance(error, ServiceError) else internal_error(request_id)
    unexpected = shown is not error or shown.kind is ErrorKind.INTERNAL
    return _Failure(grpc_code(shown.kind), shown, shown.reason, error if unexpected else None)


async def _traced(span: Span, body: Body, request: Any, context: Context) -> Any:
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            return await body(request, context)
        except ServiceError as error:
            span.set_attribute("error.reason", error.reason)
            span.set_status(StatusCode.ERROR, error.kind.value)
            raise
        except Exception:
            span.set_status(StatusCode.ERROR, ErrorKind.INTERNAL.value)
            raise


def _behaviour(handler: Handler) -> Callable[..., Any]:
    found = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if found is None:
        raise TypeError("the handler has no behaviour")
    return found


def _request(method: _Method, raw: bytes) -> Any:
    try:
        return method.decode(raw)
    except (DecodeError, ValueError) as error:
        raise _malformed() from error


def _malformed() -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "MALFORMED_REQUEST",
        "the request is not a message of this method: its bytes or its text cannot be read",
    )


def _encode(method: _Method, response: Any) -> bytes:
    return response if type(response) is bytes else method.encode(response)


async def _decoded(method: _Method, raw: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    async for each in raw:
        yield _request(method, each)


async def _send_all(method: _Method, responses: AsyncGenerator[Any, None], context: Context) -> None:
    # Closing in this task runs the generator's `finally` now, also when the client is gone.
    async with aclosing(responses):
        async for response in responses:
            await context.write(_encode(method, response))


def _request_id(given: str | bytes) -> str:
    if isinstance(given, str) and _REQUEST_ID_FORMAT.fullmatch(given):
        return given
    return f"{_PROCESS}{next(_numbers):08x}"


def _code_of_cancellation(context: Context) -> grpc.StatusCode:
    return grpc.StatusCode.DEADLINE_EXCEEDED if context.time_remaining() == 0 else grpc.StatusCode.CANCELLED
