"""What the process takes and where the kernel would end it: /proc, and the files of cgroup v1 and v2."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from content_cache.memory.guard import MemoryReading

_NO_LIMIT = 1 << 60
"""cgroup v1 says so with the largest multiple of a page."""


@dataclass(frozen=True, slots=True)
class _Version:
    """The names one version of cgroups has for things."""

    mount: str
    limit: str
    usage: str
    reclaimable: str


_V1 = _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Version("", "memory.max", "memory.current", "inactive_file")


class CgroupMemory:
    """The memory of the cgroup this process is in, or of the one above it with the tightest limit.

    Args:
        root: Where cgroups are mounted.
        membership: Says which this process is in.
    """

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._root = root
        self._membership = membership

    def read(self) -> MemoryReading | None:
        """Return what is taken, without what the kernel would reclaim; None without a limit."""
        limited = [each for each in self._readings() if each.limit_bytes < _NO_LIMIT]
        return min(limited, key=lambda each: each.limit_bytes - each.used_bytes, default=None)

    def _readings(self) -> Iterator[MemoryReading]:
        for version, path in self._places():
            mount = self._root / version.mount
            for folder in (path, *path.parents):
                reading = _reading(mount / folder.relative_to("/"), version)
                if reading is not None:
                    yield reading

    def _places(self) -> Iterator[tuple[_Version, PurePosixPath]]:
        for line in _text(self._membership).splitlines():
            hierarchy, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield _V1, PurePosixPath(path)
            elif hierarchy == "0":
                yield _V2, PurePosixPath(path)


class ProcessMemory:
    """This process beside a limit someone set, else its cgroup's, else all of the machine's memory.

    Args:
        limit_bytes: The limit; 0 to find it.
        cgroup: Where to look first.
        resident_bytes: Reads what the process takes.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        cgroup: CgroupMemory | None = None,
        resident_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._cgroup = cgroup or CgroupMemory()
        process = psutil.Process()
        self._resident_bytes = resident_bytes or (lambda: int(process.memory_info().rss))

    def read(self) -> MemoryReading:
        """Return a reading."""
        resident = self._resident_bytes()
        if self._limit_bytes:
            return MemoryReading(resident, self._limit_bytes, "setting")
        group = self._cgroup.read()
        if group is not None:
            return MemoryReading(max(resident, group.used_bytes), group.limit_bytes, group.source)
        return MemoryReading(resident, psutil.virtual_memory().total, "machine")


def return_free_memory() -> None:
    """Give what the allocator keeps back to the kernel, where the C library can; glibc does."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reading(folder: Path, version: _Version) -> MemoryReading | None:
    limit, usage = _text(folder / version.limit).strip(), _text(folder / version.usage).strip()
    if not limit.isdigit() or not usage.isdigit():
        return None
    stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    used = int(usage) - int(stat.get(version.reclaimable, 0))
    return MemoryReading(max(used, 0), int(limit), "cgroup")


def _text(path: Path) -> str:
    """Return a file's text; empty if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
