"""A thread for what takes long, behind everything else the machine has to do."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")
_NICE: Final = 15


class Background:
    """One thread of low priority; what it is given is done in order."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compression", initializer=_step_back)

    async def run(self, work: Callable[[], T]) -> T:
        """Do work there."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Take no more; what is under way ends by itself, and is waited for at most at the process's end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    # On Linux this is the thread's own niceness; elsewhere it would be the process's.
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
