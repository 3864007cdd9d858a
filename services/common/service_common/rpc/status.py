"""The one place where an error becomes a gRPC status, and a status an error again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2

from service_common.errors import ErrorKind, FieldViolation, ServiceError

DOMAIN = "contentfactory"
DETAILS_KEY = "grpc-status-details-bin"

# All of it travels as metadata, of which a client accepts 8 KiB by default: the message percent-encoded (up
# to three characters a byte), the details in base64.
_MAX_MESSAGE_BYTES = 600
_MAX_VIOLATION_BYTES = 250
_MAX_VIOLATIONS_BYTES = 2000

_KIND_BY_NUMBER: dict[int, ErrorKind] = {code_pb2.Code.Value(kind.value): kind for kind in ErrorKind}
_CODE_BY_KIND: dict[ErrorKind, grpc.StatusCode] = {kind: grpc.StatusCode[kind.value] for kind in ErrorKind}


def grpc_code(kind: ErrorKind) -> grpc.StatusCode:
    """Return the transport's name of a kind."""
    return _CODE_BY_KIND[kind]


def internal_error(request_id: str) -> ServiceError:
    """Make what a caller may see of an unexpected failure: the id under which the log tells the rest."""
    return ServiceError(
        ErrorKind.INTERNAL,
        "INTERNAL",
        f"internal error; the server's log has it as request {request_id}",
        metadata={"request_id": request_id},
    )


def to_status(error: ServiceError) -> status_pb2.Status:
    """Turn an error into `google.rpc.Status` with ErrorInfo and, where known, BadRequest and RetryInfo."""
    status = status_pb2.Status(
        code=code_pb2.Code.Value(error.kind.value), message=_clip(error.message, _MAX_MESSAGE_BYTES)
    )
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    status.details.add().Pack(info)
    if error.violations:
        status.details.add().Pack(_bad_request(error))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(retry)
    return status


def _bad_request(error: ServiceError) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for each in error.violations:
        bad.field_violations.add(
            field=_clip(each.field, _MAX_VIOLATION_BYTES),
            description=_clip(each.description, _MAX_VIOLATION_BYTES),
        )
        if bad.ByteSize() > _MAX_VIOLATIONS_BYTES:
            break
    return bad


def _clip(text: str, limit: int) -> str:
    # A lone surrogate from hostile input would make the status itself unserialisable.
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def from_status(status: status_pb2.Status) -> ServiceError:
    """Turn a `google.rpc.Status` that is not OK into the error it describes."""
    kind = _KIND_BY_NUMBER.get(status.code, ErrorKind.INTERNAL)
    return _assemble(kind, status.message, list(status.details))


def _assemble(kind: ErrorKind, message: str, details: list[AnyMessage]) -> ServiceError:
    reason, metadata, retry_after = f"STATUS_{kind.value}", {}, None
    violations: list[FieldViolation] = []
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in details:
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations.extend(FieldViolation(each.field, each.description) for each in bad.field_violations)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    return ServiceError(
        kind, reason, message, violations=violations, metadata=metadata, retry_after=retry_after
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """Turn what a call raised into the error the server meant, or the one the transport found."""
    code = error.code()
    kind = ErrorKind.__members__.get(code.name, ErrorKind.INTERNAL)
    payload = _details_of(error)
    if isinstance(payload, bytes):
        status = status_pb2.Status()
        try:
            status.ParseFromString(payload)
        except ValueError:  # another server's private use of the key
            return _assemble(kind, error.details() or code.name, [])
        return _assemble(kind, status.message, list(status.details))
    return _assemble(kind, error.details() or code.name, [])


def _details_of(error: grpc.aio.AioRpcError) -> bytes | None:
    trailing: Any = error.trailing_metadata() or ()  # typed as one pair by the stubs; it is many
    return next((value for key, value in trailing if key == DETAILS_KEY), None)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ServiceError) -> NoReturn:
    """End the call with the error; raises the transport's AbortError, which must be let through."""
    status = to_status(error)
    await context.abort(
        _CODE_BY_KIND[error.kind], status.message, ((DETAILS_KEY, status.SerializeToString()),)
    )


def retry_after_s(error: ServiceError) -> float:
    """Return the seconds a server asked to wait; 0 when it did not."""
    return (error.retry_after or timedelta()).total_seconds()
