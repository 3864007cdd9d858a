"""One local process: started with its log, asked to stop, made to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio import subprocess

from factory_cli.supervision.specs import ProcessSpec

_TAIL_LINES = 8
_TAIL_BYTES = 16_384


class LocalProcess:
    """A running process. It lives in a session of its own, so Ctrl-C at the terminal reaches only us.

    Attributes:
        spec: What it is.
        pid: Its process id.
    """

    def __init__(self, spec: ProcessSpec, running: subprocess.Process) -> None:
        self.spec = spec
        self.pid = running.pid
        self._running = running

    @classmethod
    async def start(cls, spec: ProcessSpec) -> LocalProcess:
        """Start it; its output is appended to its log.

        Raises:
            OSError: If it cannot be started or its log cannot be written.
        """
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(spec.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            running = await subprocess.create_subprocess_exec(
                *spec.command,
                stdin=subprocess.PIPE if spec.ends_with_parent else subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(spec.environ),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        return cls(spec, running)

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._running.returncode

    async def wait(self) -> int:
        """Wait for its end; returns its exit code, negative for a signal."""
        return await self._running.wait()

    async def stop(self, grace_s: float) -> None:
        """Ask it to stop and wait; make it stop when the grace is over."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._running.wait(), grace_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._running.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._running.send_signal(number)


def log_tail(spec: ProcessSpec) -> str:
    """Return the last lines of a process's log, indented; empty when there are none."""
    try:
        with spec.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line[:300]}" for line in lines[-_TAIL_LINES:])
