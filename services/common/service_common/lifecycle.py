"""A service's life: opened in order, run until told to stop, drained, and closed last in, first out.

At SIGTERM or SIGINT: announce (health says NOT_SERVING) → drain hooks (hand back what is held) → closers in
reverse order of opening: server, then stores, then telemetry. Every step is bounded in time, a failing step
never keeps the next from running, and a second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

Step = Callable[[], Awaitable[None] | None]
_log = structlog.get_logger("service_common.lifecycle")
_STEP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Bounded:
    name: str
    step: Step
    timeout_s: float


class Lifecycle:
    """What is open, and what must happen before it closes.

    Every resource pushes its closer in the moment it opens, so a start that fails half-way closes
    exactly what was opened.
    """

    def __init__(self) -> None:
        self._announce: list[_Bounded] = []
        self._drain: list[_Bounded] = []
        self._closers: list[_Bounded] = []
        self._stop = asyncio.Event()
        self._exit_code = 0

    def push(self, name: str, closer: Step, *, timeout_s: float = _STEP_TIMEOUT_S) -> None:
        """Close something when everything opened after it is closed.

        Args:
            name: Names it in the log.
            closer: A function or coroutine function without arguments.
            timeout_s: How long it may take.
        """
        self._closers.append(_Bounded(name, closer, timeout_s))

    def on_announce(self, name: str, hook: Step) -> None:
        """Tell the world about stopping before anything stops."""
        self._announce.append(_Bounded(name, hook, _STEP_TIMEOUT_S))

    def on_drain(self, name: str, hook: Step, *, timeout_s: float = _STEP_TIMEOUT_S) -> None:
        """Finish or hand back work while the server and the stores still work; last in, first out."""
        self._drain.append(_Bounded(name, hook, timeout_s))

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run background work until it is closed, in its turn; its unexpected failure stops the service.

        Args:
            name: Names it in the log.
            work: The coroutine.
        """
        task = asyncio.create_task(self._watch(name, work), name=name)

        async def cancel() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.push(name, cancel)
        return task

    async def _watch(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - whatever stopped the work stops the service
            _log.exception("background_failed", work=name)
            self._exit_code = 1
            self._stop.set()

    def stop(self) -> None:
        """Ask the service to stop; harmless when repeated."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    async def stopped(self) -> int:
        """Wait until asked to stop; returns the exit code so far."""
        await self._stop.wait()
        return self._exit_code

    async def close(self) -> None:
        """Announce, drain and close, each step once, however often it is called."""
        for steps in (self._announce, self._drain, self._closers):
            while steps:
                await _run(steps.pop())


async def _run(bounded: _Bounded) -> None:
    try:
        async with asyncio.timeout(bounded.timeout_s):
            result = bounded.step()
            if inspect.isawaitable(result):
                await result
    except TimeoutError:
        _log.error("close_timeout", step=bounded.name, timeout_s=bounded.timeout_s)
    except Exception:  # noqa: BLE001 - a failing step must not keep the next from running
        _log.exception("close_failed", step=bounded.name)


async def run_until_stopped(start: Callable[[Lifecycle], Awaitable[None]]) -> int:
    """Start a service, wait for a signal, drain and close.

    Args:
        start: Opens everything, pushing closers; returns when the service is ready.

    Returns:
        The process's exit code.
    """
    lifecycle = Lifecycle()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, _on_signal, lifecycle, each)
    try:
        starting = asyncio.ensure_future(start(lifecycle))
        stopping = asyncio.ensure_future(lifecycle.stopped())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        else:
            await starting
        return await stopping
    finally:
        await lifecycle.close()
        _log.info("stopped")


def _on_signal(lifecycle: Lifecycle, received: signal.Signals) -> None:
    if lifecycle.stopping:
        os._exit(128 + received)
    _log.info("stopping", signal=received.name)
    lifecycle.stop()
