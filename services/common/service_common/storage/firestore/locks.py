"""One operation at a time per key in this process, in the order they came: it never contends with itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from service_common.errors import unavailable
from service_common.storage.documents import Key

WAIT_S = 30.0


class KeyLocks:
    """Locks by key; one that nobody holds or waits for takes no space."""

    __slots__ = ("_locks", "_wait_s")

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._wait_s = wait_s

    @asynccontextmanager
    async def hold(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        """Hold the locks of all keys.

        Raises:
            ServiceError: UNAVAILABLE if those before take too long.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._wait_s):
                    # Always in one order, so that no two wait for each other.
                    for key in sorted(set(keys), key=Key.path):
                        await held.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            except TimeoutError as error:
                raise unavailable("STORE_BUSY", "too many writes of the same document are waiting") from error
            yield
