"""What went wrong, in the words of every layer: a kind, a stable reason and a message; no transport in it.

The domain raises `ServiceError`; `service_common.rpc.status` alone turns it into a gRPC status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from types import MappingProxyType


class ErrorKind(Enum):
    """The canonical classes of failure; a caller decides by kind whether to retry."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    ABORTED = "ABORTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"
    DATA_LOSS = "DATA_LOSS"
    UNIMPLEMENTED = "UNIMPLEMENTED"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field of a request.

    Attributes:
        field: Path of the field as the contract writes it, e.g. `items[3].key`.
        description: What is wrong with it and what would be right.
    """

    field: str
    description: str


class ServiceError(Exception):
    """A failure the caller is meant to see.

    Attributes:
        kind: The canonical class.
        reason: UPPER_SNAKE_CASE constant from the registry, stable for machines.
        message: For people; holds no secrets and no inner text of other layers.
        violations: The bad fields, when the request was at fault.
        metadata: Further facts for machines.
        retry_after: The earliest sensible time to try again, when known.
    """

    def __init__(
        self,
        kind: ErrorKind,
        reason: str,
        message: str,
        *,
        violations: Iterable[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"ServiceError({self.kind.value}, {self.reason!r}, {self.message!r})"


def invalid_argument(*violations: FieldViolation) -> ServiceError:
    """Make the error for a request with bad fields; its message names each of them."""
    text = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", text or "invalid request", violations=violations
    )


def invalid_field(field: str, description: str) -> ServiceError:
    """Make the error for a request with one bad field."""
    return invalid_argument(FieldViolation(field, description))


def not_found(reason: str, message: str) -> ServiceError:
    """Make the error for a thing that does not exist, or is not the caller's to see."""
    return ServiceError(ErrorKind.NOT_FOUND, reason, message)


def already_exists(reason: str, message: str) -> ServiceError:
    """Make the error for a creation that collides with what exists."""
    return ServiceError(ErrorKind.ALREADY_EXISTS, reason, message)


def failed_precondition(reason: str, message: str) -> ServiceError:
    """Make the error for an operation the current state forbids."""
    return ServiceError(ErrorKind.FAILED_PRECONDITION, reason, message)


def aborted(reason: str, message: str) -> ServiceError:
    """Make the error for work lost to a concurrent writer; the caller may start over."""
    return ServiceError(ErrorKind.ABORTED, reason, message)


def unavailable(reason: str, message: str, *, retry_after: timedelta | None = None) -> ServiceError:
    """Make the error for a dependency that is down and expected back; idempotent calls may retry."""
    return ServiceError(ErrorKind.UNAVAILABLE, reason, message, retry_after=retry_after)


def resource_exhausted(reason: str, message: str, *, retry_after: timedelta | None = None) -> ServiceError:
    """Make the error for a limit that is reached."""
    return ServiceError(ErrorKind.RESOURCE_EXHAUSTED, reason, message, retry_after=retry_after)
