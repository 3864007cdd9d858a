"""Threads for blocking functions: a bounded number of them, none of which can hold up the loop or the exit.

A thread cannot be stopped. One that is out of time is given up: its caller goes on, and its place is free
again when it returns. While all of them are given up, callers are told so instead of waiting.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

_SWITCH_S = 0.0005
"""How long a thread may keep Python's lock; the usual 5 ms would delay each turn of the loop, per thread."""

_LOOK_S = 1.0
"""How often a caller in line looks whether any thread will come back."""


class ThreadsLostError(Exception):
    """Every thread is with a call that is out of time."""


class Threads:
    """Runs blocking functions. Its mutable state: how many threads are busy, free and given up.

    Attributes:
        overdue: Threads whose calls are out of time and have not returned.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._busy = 0
        self._usual_s = sys.getswitchinterval()
        self.overdue = 0

    async def run(self, work: Callable[[], str], *, timeout_s: float) -> str:
        """Run a function in a thread and return what it returns.

        Cancelling this gives up the result; the thread's place is free when the function returns.

        Raises:
            TimeoutError: If it takes longer than it may; waiting for a thread does not count.
            ThreadsLostError: If there is no thread and none will come back.
            Exception: Whatever the function raises.
        """
        await self._take_place()
        self._count(1)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        Thread(target=self._in_thread, args=(work, future), name="handler", daemon=True).start()
        done, _ = await asyncio.wait((future,), timeout=timeout_s)
        if not done:
            self.overdue += 1
            future.add_done_callback(self._came_back)
            raise TimeoutError
        return future.result()

    async def _take_place(self) -> None:
        while True:
            if self.overdue >= self._size:
                raise ThreadsLostError
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._free.acquire()
                    return

    def _in_thread(self, work: Callable[[], str], future: asyncio.Future[str]) -> None:
        result, failure = "", None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to the caller, whatever it is
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            future.get_loop().call_soon_threadsafe(self._ended, future, result, failure)

    def _ended(self, future: asyncio.Future[str], result: str, failure: BaseException | None) -> None:
        self._free.release()
        self._count(-1)
        if future.done():
            return
        if failure is None:
            future.set_result(result)
        elif isinstance(failure, Exception) and not isinstance(failure, StopIteration):
            future.set_exception(failure)
        else:  # what a future cannot carry, or what would end the loop's task
            future.set_exception(RuntimeError(type(failure).__name__))

    def _count(self, by: int) -> None:
        self._busy += by
        sys.setswitchinterval(_SWITCH_S if self._busy else self._usual_s)

    def _came_back(self, future: asyncio.Future[str]) -> None:
        self.overdue -= 1
        future.exception()  # seen: it came too late to matter
