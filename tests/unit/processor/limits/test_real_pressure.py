"""Pressure in real control groups: a process that is short of memory or CPU lowers its ceiling, and recovers.

Where control groups cannot be made these tests skip and say so; the files that a kernel writes are simulated
in `test_pressure.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_MOUNT = Path("/sys/fs/cgroup")
_LIMIT = 400 << 20

_SHORT_OF_MEMORY = """
import json, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
from parallel_processor.limits.cgroup import Cgroup
from parallel_processor.limits.guard import Guard
from parallel_processor.limits.pressure import PressurePolicy
from service_common.clock import ManualClock
pressed, clock, cgroup = [], ManualClock(), Cgroup()
guard = Guard(
    PressurePolicy(memory_high=0.8, cpu_wait_high=1.0),
    most=100, clock=clock, press=lambda *said: pressed.append((said[0], said[1].value)), cgroup=cgroup,
)
def look(times):
    for _ in range(times):
        clock.advance(100.0)
        guard.look()
    return pressed[-1]
first = look(1)
ballast = [bytearray(b"x") * (10 << 20) for _ in range(34)]
use = cgroup.memory()
short = look(3)
del ballast
print(json.dumps({"limit": use.limit, "used": use.used, "first": first, "short": short, "after": look(20)}))
"""

_SHORT_OF_CPU = """
import json, sys, time
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
from parallel_processor.limits.cgroup import Cgroup
cgroup = Cgroup()
began, waited = time.monotonic(), cgroup.cpu_wait_s()
used = time.process_time()
while time.monotonic() < began + 1.5:
    pass
print(json.dumps({
    "waited": (cgroup.cpu_wait_s() - waited) / (time.monotonic() - began),
    "ran": (time.process_time() - used) / (time.monotonic() - began),
}))
"""


@contextmanager
def _group(controller: str, **limits: str) -> Iterator[Path]:
    """Make a control group below this process's own, with limits; skips where that is not allowed."""
    group = _own(controller) / f"factory-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group for {controller} can be made here: {error}")
    try:
        written = [name for name in limits if (group / name.replace("__", ".")).exists()]
        if not written:
            pytest.skip(f"control groups here do not limit {controller}")
        for name in written:
            (group / name.replace("__", ".")).write_text(limits[name])
        yield group
    finally:
        group.rmdir()


def _own(controller: str) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _MOUNT / controller / path.lstrip("/")
    return _MOUNT


def _run(program: str, group: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", program, str(group)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def test_memory_that_runs_short_lowers_the_ceiling_until_it_is_free() -> None:
    """340 of 400 MiB in use bring it down; once they are given back it comes back whole."""
    with _group("memory", memory__limit_in_bytes=str(_LIMIT), memory__max=str(_LIMIT)) as group:
        said = _run(_SHORT_OF_MEMORY, group)

    assert said["limit"] == _LIMIT
    assert 340 << 20 <= said["used"] < _LIMIT
    assert said["first"] == [100, "most"]
    assert said["short"] == [34, "memory"]
    assert said["after"] == [100, "most"]


def test_a_used_up_quota_reads_as_waiting_for_a_cpu() -> None:
    """A process that may run a tenth of the time, and wants all of it, waits for most of it."""
    quota = {"cpu__cfs_quota_us": "10000", "cpu__max": "10000 100000"}
    with _group("cpu", **quota) as group:
        said = _run(_SHORT_OF_CPU, group)

    assert said["ran"] < 0.4
    assert said["waited"] > 0.5
    assert said["ran"] + said["waited"] == pytest.approx(1.0, abs=0.25)
