"""What runs here under a data directory, written down for `factory down` and the next `factory up`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_FILE = "processes.json"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that can be found again, and told from a later one that got the same id.

    Attributes:
        name: What it is.
        pid: Its process id.
        created_at: When it was started, as the system says.
        stop_rank: Lower ones are stopped first.
    """

    name: str
    pid: int
    created_at: float
    stop_rank: int

    @classmethod
    def of(cls, name: str, pid: int, stop_rank: int) -> ProcessRecord | None:
        """Describe a running process; None when it is gone already."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time(), stop_rank)
        except psutil.Error:
            return None

    def alive(self) -> bool:
        """Tell whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_at) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal, unless it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; tells whether it came."""
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True


class RecordFile:
    """The file with the supervisor (the process that runs `factory up`) and what it supervises."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _FILE

    def read(self) -> dict[str, ProcessRecord]:
        """Return what was written last, by name; nothing when there is no readable record."""
        try:
            rows = json.loads(self._path.read_text("utf-8"))
            return {row["name"]: ProcessRecord(**row) for row in rows}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def alive(self) -> dict[str, ProcessRecord]:
        """Return what was written last and still runs."""
        return {name: each for name, each in self.read().items() if each.alive()}

    def write(self, records: Mapping[str, ProcessRecord]) -> None:
        """Replace what is written, in one step."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps([asdict(each) for each in records.values()], indent=1), "utf-8")
        draft.replace(self._path)

    def remove(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)


def stop_in_order(records: Iterable[ProcessRecord], *, grace_s: float) -> list[str]:
    """Stop processes rank by rank, by force when the grace is over.

    Returns:
        The names of those that were stopped.
    """
    alive = [each for each in records if each.alive()]
    for rank in sorted({each.stop_rank for each in alive}):
        group = [each for each in alive if each.stop_rank == rank]
        for each in group:
            each.signal(signal.SIGTERM)
        for each in group:
            if not each.wait(grace_s):
                each.signal(signal.SIGKILL)
                each.wait(grace_s)
    return [each.name for each in alive]
