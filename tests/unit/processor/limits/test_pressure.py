"""The guard of this machine: it lowers the ceiling under pressure and gives it back with patience."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.cgroup import Cgroup
from parallel_processor.limits.guard import Guard
from parallel_processor.limits.pressure import Pressure, PressurePolicy, PressureReading
from service_common.clock import ManualClock

CALM = PressureReading(memory=0.5, cpu_wait=0.1)
SHORT_OF_MEMORY = PressureReading(memory=0.95, cpu_wait=0.1)
SHORT_OF_CPU = PressureReading(memory=0.5, cpu_wait=0.9)
STALLED = PressureReading(memory=0.5, cpu_wait=0.1, memory_stall=0.4)
ALMOST_CALM = PressureReading(memory=0.85, cpu_wait=0.1)


@pytest.mark.parametrize(
    ("reading", "cause"),
    [(SHORT_OF_MEMORY, Cause.MEMORY), (STALLED, Cause.MEMORY), (SHORT_OF_CPU, Cause.CPU)],
)
def test_pressure_lowers_the_ceiling_and_calm_gives_it_back(reading: PressureReading, cause: Cause) -> None:
    """Each reading takes a part away, a tenth is left, and after it all comes back."""
    pressure = Pressure(PressurePolicy(), 100)
    ceilings = [pressure.read(reading)[0] for _ in range(20)]
    assert ceilings == sorted(ceilings, reverse=True)
    assert (ceilings[0], ceilings[-1]) == (70, 10)
    assert pressure.read(reading)[1] is cause
    back = [pressure.read(CALM) for _ in range(20)]
    assert back[0] == (10, cause)  # it takes patience
    assert back[-1] == (100, Cause.MOST)


def test_just_below_the_mark_is_not_calm() -> None:
    """A reading that swings about the mark does not make the ceiling swing: it stays down."""
    pressure = Pressure(PressurePolicy(), 100)
    pressure.read(SHORT_OF_MEMORY)
    assert {pressure.read(ALMOST_CALM)[0] for _ in range(50)} == {70}


@given(
    most=st.integers(1, 500),
    readings=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60),
)
def test_the_ceiling_stays_within_its_bounds(most: int, readings: list[tuple[float, float]]) -> None:
    """At least one call may always be made, and never more than configured."""
    pressure = Pressure(PressurePolicy(), most)
    for memory, cpu_wait in readings:
        ceiling, cause = pressure.read(PressureReading(memory, cpu_wait))
        assert 1 <= ceiling <= most
        assert (cause is Cause.MOST) == (pressure.read(PressureReading(0.85, 0.75))[1] is Cause.MOST)


def _write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def _proc(tmp_path: Path, groups: str) -> Path:
    _write(tmp_path / "proc", cgroup=groups, schedstat="1000000000 2500000000 7\n")
    return tmp_path / "proc"


def test_version_2_is_read(tmp_path: Path) -> None:
    """Files as a kernel with version 2 writes them: the tightest limit counts, droppable pages do not."""
    root = tmp_path / "cgroup"
    _write(root / "pod" / "main", memory__current="900\n", memory__max="max\n", memory__stat="anon 1\n")
    _write(
        root / "pod",
        memory__current="1500\n",
        memory__max="2000\n",
        memory__stat="anon 900\ninactive_file 500\n",
    )
    use = Cgroup(_proc(tmp_path, "0::/pod/main\n"), root).memory()
    assert (use.used, use.limit, use.limited) == (1000, 2000, True)


def test_version_1_is_read(tmp_path: Path) -> None:
    """Files as a kernel with version 1 writes them; a limit near 2^63 is none."""
    root = tmp_path / "cgroup"
    _write(
        root / "memory" / "docker" / "abc",
        memory__usage_in_bytes="800\n",
        memory__limit_in_bytes="1000\n",
        memory__stat="cache 9\ntotal_inactive_file 100\n",
    )
    _write(
        root / "memory",
        memory__usage_in_bytes="9000\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__stat="total_inactive_file 0\n",
    )
    proc = _proc(tmp_path, "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n")
    use = Cgroup(proc, root).memory()
    assert (use.used, use.limit, use.limited) == (700, 1000, True)


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    """Where there is no container, or none that limits, it is the machine's memory."""
    use = Cgroup(_proc(tmp_path, "0::/\n"), tmp_path / "nowhere").memory()
    assert (use.limit, use.limited) == (psutil.virtual_memory().total, False)
    assert 0 < use.part < 1


def test_waiting_for_a_cpu_is_read(tmp_path: Path) -> None:
    """The second number of schedstat, in seconds; None where the kernel does not say."""
    assert Cgroup(_proc(tmp_path, ""), tmp_path).cpu_wait_s() == 2.5
    assert Cgroup(tmp_path / "nobody", tmp_path).cpu_wait_s() is None


def test_stalls_are_read(tmp_path: Path) -> None:
    """Pressure stall information of the group; without it the machine's; without both there is none."""
    said = (
        "some avg10=60.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=25.00 avg60=0.00 avg300=0.00 total=1\n"
    )
    root, proc = tmp_path / "cgroup", _proc(tmp_path, "0::/pod\n")
    _write(root / "pod", memory__current="1\n")
    assert Cgroup(proc, root).memory_stall() == 0.0
    _write(tmp_path / "pressure", memory=said.replace("25.00", "5.00"))
    assert Cgroup(proc, root).memory_stall() == 0.05
    _write(root / "pod", memory__pressure=said)
    assert Cgroup(proc, root).memory_stall() == 0.25


def test_the_guard_sets_the_ceiling(tmp_path: Path) -> None:
    """What the files say of CPU and memory becomes a ceiling with a cause, and goes with them."""
    root, proc, clock = tmp_path / "cgroup", _proc(tmp_path, "0::/\n"), ManualClock()
    _write(root, memory__current="500\n", memory__max="1000\n", memory__stat="inactive_file 0\n")
    pressed: list[tuple[int, Cause]] = []
    guard = Guard(
        PressurePolicy(),
        most=10,
        clock=clock,
        press=lambda ceiling, cause: pressed.append((ceiling, cause)),
        cgroup=Cgroup(proc, root),
    )

    def look(memory: int, cpu_wait_s: float) -> tuple[int, Cause]:
        clock.advance(1.0)
        _write(root, memory__current=f"{memory}\n")
        waited = 2_500_000_000 + int(cpu_wait_s * 1e9)
        _write(proc, schedstat=f"1 {waited} 1\n")
        guard.look()
        return pressed[-1]

    assert look(500, 0.1) == (10, Cause.MOST)
    assert look(950, 0.1) == (7, Cause.MEMORY)
    assert look(500, 1.05) == (4, Cause.CPU)
    assert [look(500, 1.05) for _ in range(10)][-1] == (10, Cause.MOST)
