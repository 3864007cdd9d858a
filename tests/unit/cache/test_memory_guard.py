"""The guard's decisions, from simulated readings, simulated cgroup files, and a process's real memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Entry
from content_cache.eviction import Lru
from content_cache.live import LiveCache
from content_cache.memory.guard import CALM_S, HIGH_MARK, LOW_MARK, MemoryGuard, MemoryReading
from content_cache.memory.readings import CgroupMemory, ProcessMemory
from content_cache.memory.watch import THAW_EVERY_S, MemoryWatch
from content_cache.slices import Slices
from hypothesis import given
from hypothesis import strategies as st
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]

MIB = 1024 * 1024
V1_NONE = 9223372036854771712


def reading(used: int, limit: int = 1000 * MIB) -> MemoryReading:
    """Make a reading."""
    return MemoryReading(used, limit, "test")


def test_above_the_high_mark_it_gives_back_to_the_low_mark() -> None:
    """The limit falls by what is used above the low mark, never below the floor."""
    guard = MemoryGuard(800 * MIB)
    assert guard.read(reading(950 * MIB), cache_bytes=700 * MIB, now=0)
    assert guard.allowed_bytes == 550 * MIB
    assert guard.counts.shrinks == 1
    assert guard.read(reading(2000 * MIB), cache_bytes=500 * MIB, now=1)
    assert guard.allowed_bytes == 50 * MIB
    assert guard.at_floor
    assert not guard.read(reading(2000 * MIB), cache_bytes=50 * MIB, now=2)


def test_growth_between_readings_is_bounded_beforehand() -> None:
    """Below the high mark nothing leaves, but entries may come only as far as that mark."""
    guard = MemoryGuard(800 * MIB)
    assert not guard.read(reading(700 * MIB), cache_bytes=400 * MIB, now=0)
    assert guard.allowed_bytes == 600 * MIB
    assert guard.counts.shrinks == 0


def test_it_grows_back_when_calm() -> None:
    """Not before ten calm seconds, then in steps, and only as far as the low mark."""
    guard = MemoryGuard(800 * MIB)
    guard.read(reading(950 * MIB), cache_bytes=700 * MIB, now=0)
    guard.read(reading(500 * MIB), cache_bytes=300 * MIB, now=1)
    guard.read(reading(500 * MIB), cache_bytes=300 * MIB, now=CALM_S)
    assert guard.allowed_bytes == 550 * MIB
    guard.read(reading(500 * MIB), cache_bytes=300 * MIB, now=1 + CALM_S)
    assert guard.allowed_bytes == 600 * MIB
    guard.read(reading(700 * MIB), cache_bytes=500 * MIB, now=2 + CALM_S)
    assert guard.allowed_bytes == 600 * MIB
    guard.read(reading(850 * MIB), cache_bytes=560 * MIB, now=3 + CALM_S)
    guard.read(reading(100 * MIB), cache_bytes=50 * MIB, now=4 + CALM_S)
    guard.read(reading(100 * MIB), cache_bytes=50 * MIB, now=5 + CALM_S)
    assert guard.allowed_bytes == 600 * MIB, "an unsteady moment starts the calm anew"
    for second in range(20):
        guard.read(reading(100 * MIB), cache_bytes=50 * MIB, now=20 + CALM_S + second)
    assert guard.allowed_bytes == 750 * MIB, "up to the low mark, though 800 are wanted"


@given(
    own=st.integers(0, 1000), steps=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 30)), max_size=60)
)
def test_a_cache_that_obeys_never_stays_above_the_high_mark(own: int, steps: list[tuple[int, int]]) -> None:
    """Of a process that takes its own memory and the cache's, used stays within the mark or the floor."""
    limit = 1024 * MIB
    guard = MemoryGuard(900 * MIB)
    floor, now, cache = 900 * MIB // 16, 0.0, 0
    for wish, seconds in steps:
        now += seconds
        cache = min(guard.allowed_bytes, wish * MIB)
        guard.read(reading(own * MIB + cache, limit), cache_bytes=cache, now=now)
        cache = min(cache, guard.allowed_bytes)
        assert own * MIB + cache <= limit * HIGH_MARK or cache <= floor
        assert floor <= guard.allowed_bytes <= 900 * MIB


@given(used=st.integers(0, 2000), cache=st.integers(0, 900))
def test_without_change_it_settles(used: int, cache: int) -> None:
    """With readings that follow its decisions it neither swings nor shrinks twice."""
    guard = MemoryGuard(900 * MIB)
    own = max(0, used - cache) * MIB
    size = cache * MIB
    for second in range(300):
        guard.read(reading(own + size), cache_bytes=size, now=float(second))
        size = min(size, guard.allowed_bytes) if second % 2 else guard.allowed_bytes
    assert guard.counts.shrinks <= 2


def write(folder: Path, **files: object) -> None:
    """Write a cgroup's files; a name's double underscore is a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_cgroup_v2_files(tmp_path: Path) -> None:
    """The tightest limit on the way up holds; what the kernel would reclaim is not used."""
    write(tmp_path / "proc", cgroup="0::/pods/cache")
    write(tmp_path / "fs/pods/cache", memory__max="max", memory__current=300 * MIB)
    write(
        tmp_path / "fs/pods",
        memory__max=512 * MIB,
        memory__current=400 * MIB,
        memory__stat=f"anon 5\ninactive_file {100 * MIB}",
    )
    group = CgroupMemory(tmp_path / "fs", tmp_path / "proc/cgroup")
    assert group.read() == MemoryReading(300 * MIB, 512 * MIB, "cgroup")


def test_cgroup_v1_files(tmp_path: Path) -> None:
    """The same by the old names; in a container whose own path is not mounted the root's files count."""
    write(tmp_path / "proc", cgroup="5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/")
    write(
        tmp_path / "fs/memory",
        memory__limit_in_bytes=256 * MIB,
        memory__usage_in_bytes=200 * MIB,
        memory__stat=f"cache 1\ntotal_inactive_file {50 * MIB}",
    )
    group = CgroupMemory(tmp_path / "fs", tmp_path / "proc/cgroup")
    assert group.read() == MemoryReading(150 * MIB, 256 * MIB, "cgroup")


@pytest.mark.parametrize("limit", ["max", V1_NONE, ""])
def test_without_a_limit_the_machine_counts(tmp_path: Path, limit: object) -> None:
    """No limit, an unlimited one or no files at all: the reading is of the process and the machine."""
    write(tmp_path / "proc", cgroup="4:memory:/\n0::/")
    if limit:
        write(tmp_path / "fs/memory", memory__limit_in_bytes=limit, memory__usage_in_bytes=5)
        write(tmp_path / "fs", memory__max=limit, memory__current=5)
    group = CgroupMemory(tmp_path / "fs", tmp_path / "proc/cgroup")
    assert group.read() is None
    found = ProcessMemory(0, cgroup=group, resident_bytes=lambda: 7).read()
    assert (found.used_bytes, found.source) == (7, "machine")
    assert found.limit_bytes > 64 * MIB


def test_a_setting_comes_first(tmp_path: Path) -> None:
    """Who sets a limit means the process beside it."""
    write(tmp_path / "proc", cgroup="0::/")
    write(tmp_path / "fs", memory__max=512, memory__current=400)
    group = CgroupMemory(tmp_path / "fs", tmp_path / "proc/cgroup")
    assert ProcessMemory(99, cgroup=group, resident_bytes=lambda: 7).read() == MemoryReading(7, 99, "setting")
    in_group = ProcessMemory(0, cgroup=group, resident_bytes=lambda: 7).read()
    assert in_group == MemoryReading(400, 512, "cgroup")


class Kernel:
    """A cgroup whose usage is the cache's and something else's."""

    def __init__(self, cache: ContentCache, folder: Path) -> None:
        self.cache = cache
        self.folder = folder
        self.other = 0
        self.garbage = 0
        write(folder, memory__max=100_000_000)
        write(folder.parent / "proc", cgroup="0::/")

    def read(self) -> MemoryReading:
        """Write the files as the kernel would, and read them."""
        write(self.folder, memory__current=self.cache.size_bytes + self.other + self.garbage)
        group = CgroupMemory(self.folder, self.folder.parent / "proc/cgroup")
        return ProcessMemory(0, cgroup=group, resident_bytes=lambda: 0).read()


async def test_the_watch_acts_before_the_kernel(
    clock: ManualClock, make_entry: MakeEntry, tmp_path: Path
) -> None:
    """Near the cgroup's limit garbage goes first, then the oldest entries; in calm the limit comes back."""
    cache = ContentCache(max_bytes=40_000_000, policy=Lru(), clock=clock, new_token=str)
    kernel = Kernel(cache, tmp_path / "fs")
    live = LiveCache(cache, clock=clock, changed=lambda _address, _before: None)
    live.open()
    thawed: list[float] = []
    given_back: list[int] = []

    def thaw() -> None:
        thawed.append(clock.monotonic())
        kernel.garbage = 0

    watch = MemoryWatch(
        cache,
        MemoryGuard(40_000_000),
        slices=Slices(live.operation(lambda _seconds: None), clock),
        readings=kernel,
        clock=clock,
        thaw=thaw,
        give_back=lambda: given_back.append(cache.size_bytes),
    )
    for number in range(3000):
        cache.set(make_entry(f"k{number}", encoded=bytes(10_000), ttl_s=1e6))
    kernel.other, kernel.garbage = 45_000_000, 20_000_000
    clock.advance(THAW_EVERY_S)
    await watch.look()
    assert (len(thawed), len(cache)) == (1, 3000), "garbage was enough"
    kernel.other = 65_000_000
    await watch.look()
    assert len(thawed) == 1, "not again within the hour"
    assert cache.size_bytes <= 15_000_000
    assert given_back == [cache.size_bytes]
    assert cache.peek(make_entry("k2999").address) is not None
    assert cache.peek(make_entry("k0").address) is None
    assert cache.max_bytes < 40_000_000
    kernel.other = 10_000_000
    for _ in range(40):
        clock.advance(1)
        await watch.look()
    assert cache.max_bytes == 40_000_000
    await asyncio.sleep(0)


REAL = """
import asyncio, sys
from datetime import timedelta
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.live import LiveCache
from content_cache.memory.guard import MemoryGuard
from content_cache.memory.readings import ProcessMemory, return_free_memory
from content_cache.memory.watch import MemoryWatch
from content_cache.slices import Slices
from service_common.clock import SystemClock

async def main():
    clock, mib = SystemClock(), 1024 * 1024
    limit = ProcessMemory(1).read().used_bytes + 100 * mib
    readings = ProcessMemory(limit)
    cache = ContentCache(max_bytes=10**9, policy=Lru(), clock=clock, new_token=str)
    live = LiveCache(cache, clock=clock, changed=lambda address, before: None)
    live.open()
    guard = MemoryGuard(10**9)
    watch = MemoryWatch(cache, guard, slices=Slices(live.operation(lambda s: None), clock), readings=readings,
                        clock=clock, thaw=lambda: None, give_back=return_free_memory)
    end, highest, ballast = clock.now() + timedelta(hours=1), 0, []
    for number in range(60_000):
        if number == 40_000:
            ballast.append(b"x" * (12 * mib))  # as much as there is between the high mark and the limit
        cache.set(Entry(Address("a", f"{number:064}"), bytes([number % 256]) * 4096, 1, clock.now(), end))
        cache.take_effects()
        if number % 500 == 0:
            await watch.look()
            highest = max(highest, readings.read().used_bytes)
    print(limit, highest, guard.counts.shrinks, len(cache))

asyncio.run(main())
"""


def test_with_a_real_process() -> None:
    """More than twice the memory there is goes through, and 12 MiB come beside it: it stays within."""
    done = subprocess.run(
        [sys.executable, "-c", REAL], check=True, capture_output=True, text=True, timeout=100
    )
    limit, highest, shrinks, entries = map(int, done.stdout.splitlines()[-1].split())
    assert limit * LOW_MARK < highest <= limit
    assert shrinks >= 1
    assert entries > 1000
