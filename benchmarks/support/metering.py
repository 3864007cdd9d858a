"""What a stretch of work took: seconds on the clock, and of CPU per process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Taken:
    """What a stretch took.

    Attributes:
        wall_s: Seconds on the clock.
        cpu_s: Seconds of CPU, by the process's name; user and system.
    """

    wall_s: float
    cpu_s: dict[str, float]


class Meter:
    """Measures from its making on.

    Args:
        pids: The processes to watch, by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._cpu()
        self._started = time.perf_counter()

    def read(self) -> Taken:
        """Return what was taken so far."""
        wall_s = time.perf_counter() - self._started
        return Taken(wall_s, {name: cpu - self._before[name] for name, cpu in self._cpu().items()})

    def _cpu(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


def peak_memory_mib(pid: int) -> float:
    """Return the most memory a process has had resident; Linux tells, others do not."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell the peak memory of process {pid}")
