"""Waiting for a store that is away or busy, for as long as it takes, and saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from service_common.errors import ErrorKind, ServiceError
from service_common.resilience.retry import full_jitter_s

R = TypeVar("R")

_BASE_S = 0.2
_CAP_S = 10.0
_PASSING = (ErrorKind.UNAVAILABLE, ErrorKind.ABORTED)


class Patience:
    """Does what may be done twice again and again until it succeeds.

    Args:
        rng: Draws the waits.
        on_wait: Is told why there is a wait, and None when it is over.
        sleep: Waits.
    """

    def __init__(
        self,
        rng: Random,
        *,
        on_wait: Callable[[str | None], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rng = rng
        self._on_wait = on_wait
        self._sleep = sleep

    async def until_done(self, action: Callable[[], Awaitable[R]]) -> R:
        """Return what the action returns.

        Raises:
            ServiceError: What does not pass by itself.
        """
        attempt = 0
        while True:
            try:
                result = await action()
            except ServiceError as error:
                if error.kind not in _PASSING:
                    raise
                attempt += 1
                self._on_wait(error.message)
                await self._sleep(full_jitter_s(attempt, base_s=_BASE_S, cap_s=_CAP_S, rng=self._rng))
            else:
                if attempt:
                    self._on_wait(None)
                return result
