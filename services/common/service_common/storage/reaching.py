"""A store that is away when a service starts is waited for, and the log says which variable leads there."""

from __future__ import annotations

import asyncio
import random

import structlog

from service_common.errors import ErrorKind, ServiceError
from service_common.resilience.retry import full_jitter_s
from service_common.storage.store import DocumentStore

_BASE_S = 0.2
_CAP_S = 5.0
_log = structlog.get_logger("service_common.storage.reaching")


async def reached(store: DocumentStore, *, rng: random.Random | None = None) -> None:
    """Return once the store answers.

    Args:
        store: The store; whoever opened it closes it.
        rng: Draws the waits between tries.

    Raises:
        ServiceError: If it answers that it cannot be used; waiting would not mend that.
    """
    rng = rng or random.Random()
    attempt = 0
    while True:
        try:
            await store.ping()
        except ServiceError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
            attempt += 1
            _log.warning(
                "store_away",
                reason=error.reason,
                error=error.message,
                advice="this service waits; if nothing is to come back there, correct STORE_URL",
            )
            await asyncio.sleep(full_jitter_s(attempt, base_s=_BASE_S, cap_s=_CAP_S, rng=rng))
        else:
            return
