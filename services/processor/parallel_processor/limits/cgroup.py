"""What the kernel says of this process's memory and CPU, with the limits of its container, if it has one.

Every reading walks from the process's own group up to the root, since the tightest limit above it counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_UNLIMITED = 1 << 60  # version 1 writes "none" as a number near 2^63


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory in use and the most there may be, in bytes.

    Attributes:
        used: What is in use and cannot be dropped at once.
        limit: The most.
        limited: Whether it is a container's limit, not the machine's memory.
    """

    used: int
    limit: int
    limited: bool

    @property
    def part(self) -> float:
        """The part in use."""
        return self.used / self.limit


class Cgroup:
    """Reads the control groups of a process.

    Args:
        proc: The process's directory in /proc.
        root: Where control groups are mounted.
    """

    def __init__(self, proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> None:
        self._unified = list(_ancestors(root, _group(proc, "")))
        self._memory = list(_ancestors(root / "memory", _group(proc, "memory")))
        self._schedstat = proc / "schedstat"
        self._machine_pressure = proc.parent / "pressure" / "memory"

    def memory(self) -> MemoryUse:
        """Return the memory in use of the group that is nearest to its limit, or of the machine."""
        uses = [
            *(_use(each, "memory.current", "memory.max", "inactive_file") for each in self._unified),
            *(
                _use(each, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
                for each in self._memory
            ),
        ]
        machine = psutil.virtual_memory()
        limits = [each for each in uses if each is not None and each.limit <= machine.total]
        of_machine = MemoryUse(machine.total - machine.available, machine.total, limited=False)
        return max(limits, key=lambda each: each.part, default=of_machine)

    def memory_stall(self) -> float:
        """Return the part of the last ten seconds in which all of the container waited for memory.

        It is the kernel's pressure stall information, of the group or else of the machine; 0 without it.
        """
        for file in (*(each / "memory.pressure" for each in self._unified[:1]), self._machine_pressure):
            try:
                return _full_avg10(file.read_text()) / 100
            except (OSError, ValueError):
                continue
        return 0.0

    def cpu_wait_s(self) -> float | None:
        """Return for how long, since it began, this process has wanted a CPU and got none.

        A quota that is used up counts as well: the kernel lets the process stand in line. None when the
        kernel does not say.
        """
        try:
            return int(self._schedstat.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return None


def _group(proc: Path, controller: str) -> str | None:
    """Return the path of the process's group: in version 2, or of a controller of version 1."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _ancestors(mount: Path, group: str | None) -> Iterator[Path]:
    """Yield the directories of a group and of all above it; in a container the mount is often its own."""
    if group is None:
        return
    directory = mount / group.lstrip("/")
    while directory != mount:
        if directory.is_dir():
            yield directory
        directory = directory.parent
    if mount.is_dir():
        yield mount


def _use(group: Path, current: str, limit: str, droppable: str) -> MemoryUse | None:
    try:
        most = int((group / limit).read_text())
        used = int((group / current).read_text()) - _stat(group / "memory.stat", droppable)
    except (OSError, ValueError):
        return None  # there is no such file, or it says "max"
    return MemoryUse(max(0, used), most, limited=True) if 0 < most < _UNLIMITED else None


def _full_avg10(text: str) -> float:
    for line in text.splitlines():
        kind, _, rest = line.partition(" avg10=")
        if kind == "full":
            return float(rest.split()[0])
    raise ValueError("it says nothing of the time in which all waited")


def _stat(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
