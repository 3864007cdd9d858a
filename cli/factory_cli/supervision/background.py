"""`factory up` in the background: the same program, detached, with its own log; and how it is stopped."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from factory_cli import exit_codes
from factory_cli.failures import CommandError
from factory_cli.supervision.fleet import SUPERVISOR
from factory_cli.supervision.readiness import Readiness
from factory_cli.supervision.record import RecordFile, stop_in_order
from factory_cli.supervision.supervisor import Probe

_POLL_S = 0.2
_TAIL_LINES = 20
_DRAIN_S = 60.0
_GRACE_S = 20.0


async def start_detached(
    probes: Iterable[Probe], *, data_dir: Path, environ: Mapping[str, str], timeout_s: float = 90.0
) -> None:
    """Start `factory up` detached and wait until everything serves.

    Raises:
        CommandError: If it ends before that, with the end of its log, or takes too long.
    """
    log_path = data_dir / "logs" / "up.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_start = log_path.stat().st_size if log_path.exists() else 0
    with log_path.open("ab") as log:
        running = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program; starting it takes no time
            [sys.executable, "-m", "factory_cli", "up", "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environ),
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s
    waiting = list(probes)
    while waiting:
        if running.poll() is not None or time.monotonic() > deadline:
            running.terminate()
            raise CommandError(
                f"it did not start; {log_path} says:\n{_since(log_path, log_start)}", exit_codes.UNREACHABLE
            )
        await asyncio.sleep(_POLL_S)
        found = await asyncio.gather(*(probe() for probe in waiting))
        waiting = [probe for probe, each in zip(waiting, found, strict=True) if each is not Readiness.SERVING]


def _since(log_path: Path, start: int) -> str:
    with log_path.open("rb") as log:
        log.seek(start)
        return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])


def stop_all(data_dir: Path) -> list[str]:
    """Stop what runs under a data directory: through its supervisor, else one by one in order.

    Returns:
        The names of the processes that were stopped; empty when nothing ran.
    """
    record_file = RecordFile(data_dir)
    alive = record_file.alive()
    supervisor = alive.pop(SUPERVISOR, None)
    names = list(alive)
    if supervisor is not None:
        stop_in_order([supervisor], grace_s=_DRAIN_S)
    stop_in_order(alive.values(), grace_s=_GRACE_S)
    record_file.remove()
    return names or ([SUPERVISOR] if supervisor else [])
