"""The first Ctrl-C or SIGTERM asks; the second one interrupts at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - not an error: someone asked
    """Someone asked to stop while work was going on."""


@contextmanager
def interruption() -> Iterator[asyncio.Event]:
    """Within it, the first signal sets the event; the signals' usual meaning comes back after it."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        asked.set()
        _restore(loop)

    for each in _SIGNALS:
        loop.add_signal_handler(each, ask)
    try:
        yield asked
    finally:
        _restore(loop)


def _restore(loop: asyncio.AbstractEventLoop) -> None:
    for each in _SIGNALS:
        with suppress(ValueError):
            loop.remove_signal_handler(each)


async def until_asked(work: Coroutine[object, object, T], asked: asyncio.Event) -> T:
    """Do some work, unless and until the event is set.

    Raises:
        Interrupted: If the event came first; the work was cancelled and has ended.
    """
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Interrupted
        return working.result()
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
