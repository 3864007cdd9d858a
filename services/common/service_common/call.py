"""The call being served: who makes it, until when, under which trace; a context variable, no transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service_common.errors import ErrorKind, ServiceError
from service_common.frozen import dataclass

ROLE_ACT_AS = "act_as"
REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a call is made for.

    Attributes:
        tenant: Whose data it touches; part of every key and path.
        user: Who within the tenant.
        roles: What the credential may do beyond its own tenant's data.
    """

    tenant: str
    user: str
    roles: frozenset[str] = frozenset()


LOCAL_PRINCIPAL = Principal(tenant="default", user="local")


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a handler may know about the call it serves.

    Attributes:
        principal: Who it is made for.
        request_id: Names the call in logs and in INTERNAL errors.
        deadline: Monotonic seconds at which the caller stops waiting; None when it never does.
        traceparent: W3C trace context to hand on; None outside any trace.
    """

    principal: Principal
    request_id: str
    deadline: float | None = None
    traceparent: str | None = None


_current: ContextVar[CallContext | None] = ContextVar("current_call", default=None)


def current_call() -> CallContext:
    """Return the call being served.

    Raises:
        ServiceError: INTERNAL outside a call, a mistake of the program.
    """
    call = _current.get()
    if call is None:
        raise ServiceError(ErrorKind.INTERNAL, "NO_CALL", "there is no call being served here")
    return call


def current_call_or_none() -> CallContext | None:
    """Return the call being served, or None in background work."""
    return _current.get()


enter_call: Callable[[CallContext], object] = _current.set
"""Makes it the current call until this task ends; the server's own entrance, one task per call."""


@contextmanager
def call_scope(call: CallContext | None) -> Iterator[None]:
    """Serve within a scope: for tests of handlers; None drops the caller's deadline for background work."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)
