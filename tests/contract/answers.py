"""One call with bytes of any kind, how it ended, and what is wrong with how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.internal.containers import ScalarMap
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tests.contract.contracts import Rpc, is_map

REFUSALS = {each.name for each in grpc.StatusCode} - {
    "OK",
    "UNKNOWN",
    "INTERNAL",
    "DATA_LOSS",
    "UNIMPLEMENTED",
}
STREAM_TIMEOUT_S = 1.0
FRAMES = 3
UNARY_TIMEOUT_S = 30.0
RAW = (bytes, bytes)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: its code, what its details say, and the messages that came."""

    code: str
    status: status_pb2.Status | None
    messages: tuple[bytes, ...] = ()


def call(channel: grpc.Channel, rpc: Rpc, request: bytes) -> Answer:
    """Send bytes to a method; of a stream, read a few frames and leave."""
    if rpc.method.server_streaming:
        return _stream(channel, rpc, request)
    try:
        response = channel.unary_unary(rpc.path, *RAW)(request, timeout=UNARY_TIMEOUT_S)
    except grpc.RpcError as error:
        return _refused(error)
    return Answer("OK", None, (response,))


def _stream(channel: grpc.Channel, rpc: Rpc, request: bytes) -> Answer:
    stream: Any = channel.unary_stream(rpc.path, *RAW)(request, timeout=STREAM_TIMEOUT_S)
    frames: list[bytes] = []
    try:
        for frame in stream:
            frames.append(frame)
            if len(frames) == FRAMES:
                break
    except grpc.RpcError as error:
        # A stream that waits for news until the client has had enough is a stream that works.
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            return _refused(error)
    finally:
        stream.cancel()
    return Answer("OK", None, tuple(frames))


def _refused(error: Any) -> Answer:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    status = status_pb2.Status.FromString(details) if isinstance(details, bytes) else None
    return Answer(str(error.code().name), status)


def complaints(rpc: Rpc, answer: Answer) -> Iterator[str]:
    """Yield what is wrong with an answer: a code no caller can use, or an error that does not say why."""
    if answer.code == "OK":
        for message in answer.messages:
            for each in statuses_in(rpc.response_class.FromString(message)):
                yield from _complaints(code_pb2.Code.Name(each.code), each)
    else:
        yield from _complaints(answer.code, answer.status)


def _complaints(code: str, status: status_pb2.Status | None) -> Iterator[str]:
    if code not in REFUSALS:
        yield f"answers {code}: {status.message if status else ''}"
        return
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    details = list(status.details) if status is not None else []
    if not any(each.Unpack(info) for each in details) or info.domain != "contentfactory" or not info.reason:
        yield f"answers {code} without ErrorInfo"
    if info.reason == "INVALID_FIELD" and not any(
        each.Unpack(bad) and bad.field_violations for each in details
    ):
        yield f"answers {code} and names no field"


def statuses_in(message: Any) -> Iterator[status_pb2.Status]:
    """Yield every google.rpc.Status in a response."""
    for field, value in message.ListFields():
        if field.message_type is None or is_map(field) or isinstance(value, ScalarMap):
            continue
        for each in value if field.is_repeated else (value,):
            if field.message_type.full_name == "google.rpc.Status":
                yield status_pb2.Status.FromString(each.SerializeToString())
            else:
                yield from statuses_in(each)


def reasons(answer: Answer, response_class: type[Any]) -> list[str]:
    """Return the reasons in an answer: its own, or those of its results."""
    statuses = [answer.status] if answer.status is not None else []
    for message in answer.messages:
        statuses.extend(statuses_in(response_class.FromString(message)))
    info = error_details_pb2.ErrorInfo()
    return [info.reason for status in statuses for each in status.details if each.Unpack(info)]
