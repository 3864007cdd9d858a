"""Calls that outlast a restart of the service: idempotent ones are repeated while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.failures import from_service_error

PATIENCE_S = 60.0
_PAUSE_S = 0.5


async def call_patiently(
    pool: ClientPool[Any],
    method: Callable[[Any], Any],
    request: Any,
    *,
    timeout_s: float = 15.0,
    patience_s: float = PATIENCE_S,
) -> Any:
    """Make an idempotent call, again and again while the service is away.

    Args:
        pool: The service.
        method: Picks the method.
        request: The message.
        timeout_s: Limit of one attempt.
        patience_s: How long the service may be away.

    Raises:
        CommandError: As it answered, or when it stayed away.
    """
    gives_up_at = time.monotonic() + patience_s
    while True:
        try:
            return await pool.call(method, request, timeout_s=timeout_s, idempotent=True)
        except ServiceError as error:
            if error.kind is not ErrorKind.UNAVAILABLE or time.monotonic() > gives_up_at:
                raise from_service_error(error, service=pool.name) from error
        await asyncio.sleep(_PAUSE_S)


async def call_once(
    pool: ClientPool[Any], method: Callable[[Any], Any], request: Any, *, timeout_s: float = 15.0
) -> Any:
    """Make a call that a person waits for: a service that is away is said so at once.

    Raises:
        CommandError: As it answered.
    """
    return await call_patiently(pool, method, request, timeout_s=timeout_s, patience_s=0.0)
