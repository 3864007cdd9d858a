"""Keeps local processes running: starts them, waits until they serve, restarts what dies, drains in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from factory_cli import exit_codes
from factory_cli.failures import CommandError
from factory_cli.supervision.process import LocalProcess, log_tail
from factory_cli.supervision.readiness import Readiness
from factory_cli.supervision.restarts import Restarts
from factory_cli.supervision.specs import ProcessSpec

_EXIT_CONFIG = 2
_POLL_S = 0.1
_DEATHS_BEFORE_GIVING_UP = 3
_GRACE_S = 20.0

Probe = Callable[[], Awaitable[Readiness]]


class Phase(Enum):
    """Where a process is."""

    STARTING = "starting"
    SERVING = "serving"
    EXTERNAL = "was running"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a process.

    Attributes:
        name: Which one.
        phase: Where it is now.
        detail: More, for people; may be empty.
        pid: Its process id, while it has one.
    """

    name: str
    phase: Phase
    detail: str = ""
    pid: int | None = None


class Supervisor:
    """Owns a set of processes from their start to their end.

    Not for use by several tasks at once, except `stop`, which may come at any time.
    """

    def __init__(
        self,
        processes: Iterable[tuple[ProcessSpec, Probe]],
        *,
        on_change: Callable[[Change], None],
        ready_timeout_s: float = 60.0,
    ) -> None:
        self._keepers = [_Keeper(spec, probe, on_change) for spec, probe in processes]
        self._ready_timeout_s = ready_timeout_s

    async def start(self) -> None:
        """Start everything at once and wait until all of it serves.

        Raises:
            CommandError: If one cannot start; the others are stopped before this returns.
        """
        for keeper in self._keepers:
            keeper.run()
        waiting = [asyncio.create_task(each.wait_ready(self._ready_timeout_s)) for each in self._keepers]
        try:
            await asyncio.gather(*waiting)
        except (CommandError, asyncio.CancelledError):
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain in order: who calls others first, the model last. Harmless when repeated."""
        for rank in sorted({keeper.spec.stop_rank for keeper in self._keepers}):
            await asyncio.gather(
                *(keeper.stop(_GRACE_S) for keeper in self._keepers if keeper.spec.stop_rank == rank)
            )


class _Keeper:
    """Keeps one process running."""

    def __init__(self, spec: ProcessSpec, probe: Probe, on_change: Callable[[Change], None]) -> None:
        self.spec = spec
        self._probe = probe
        self._on_change = on_change
        self._process: LocalProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def run(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"keep-{self.spec.name}")

    async def wait_ready(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), timeout_s)
        except TimeoutError:
            raise self._failure(f"did not become ready within {timeout_s:.0f} s") from None

    async def stop(self, grace_s: float) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._process is not None and self._process.exit_code is None:
            self._tell(Phase.STOPPING)
            await self._process.stop(grace_s)
        self._tell(Phase.STOPPED)

    async def _keep(self) -> None:
        restarts = Restarts()
        while True:
            started_at = time.monotonic()
            code = await self._run_once()
            restarts = restarts.after_death(ran_for_s=time.monotonic() - started_at)
            if self._gives_up(code, restarts):
                return
            self._tell(Phase.RESTARTING, f"{_how(code)}; again in {restarts.delay_s:.1f} s")
            await asyncio.sleep(restarts.delay_s)

    def _gives_up(self, code: int, restarts: Restarts) -> bool:
        if self._ready.done():  # it has served before, so it can: go on trying
            return False
        if code != _EXIT_CONFIG and restarts.deaths < _DEATHS_BEFORE_GIVING_UP:
            return False
        self._tell(Phase.FAILED, _how(code))
        self._ready.set_exception(self._failure(f"{_how(code)} while starting"))
        return True

    async def _run_once(self) -> int:
        try:
            self._process = await LocalProcess.start(self.spec)
        except OSError as error:
            self._ready.set_exception(self._failure(f"could not be started: {error}"))
            raise
        self._tell(Phase.STARTING)
        watching = asyncio.create_task(self._watch_until_serving())
        try:
            return await self._process.wait()
        finally:
            watching.cancel()

    async def _watch_until_serving(self) -> None:
        while await self._probe() is not Readiness.SERVING:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(_POLL_S)
        self._tell(Phase.SERVING)
        if not self._ready.done():
            self._ready.set_result(None)

    def _tell(self, phase: Phase, detail: str = "") -> None:
        pid = self._process.pid if self._process and self._process.exit_code is None else None
        self._on_change(Change(self.spec.name, phase, detail, pid))

    def _failure(self, text: str) -> CommandError:
        tail = log_tail(self.spec)
        ending = (
            f"; the end of its log {self.spec.log_path}:\n{tail}" if tail else f" (log: {self.spec.log_path})"
        )
        return CommandError(f"{self.spec.name} {text}{ending}", exit_codes.UNREACHABLE)


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
