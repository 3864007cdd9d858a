"""One of a thousand callers in three processes generates; killed, it has exactly one successor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import cache_caller
from tests.support.factory import eventually
from tests.support.processes import ServiceProcess, running_service

pytestmark = pytest.mark.xdist_group("e2e-one-lease")
_COUNTS = (334, 333, 333)
_TIMEOUT_S = 120


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A cache as a process."""
    with running_service("cache", directory=tmp_path / "cache") as service:
        yield service


class Callers:
    """One process of callers; its events go to a file."""

    def __init__(self, cache: ServiceProcess, folder: Path, name: str, count: int, *options: str) -> None:
        self._log = folder / f"{name}.jsonl"
        command = [sys.executable, cache_caller.__file__, cache.address, name, str(count), "k", *options]
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(command, stdout=log)

    def events(self) -> list[dict[str, Any]]:
        """Return what has happened so far; a line not written whole yet is not there."""
        return [json.loads(line) for line in self._log.read_text().split("\n")[:-1]]

    def count(self, event: str) -> int:
        """Return how often something has happened."""
        return sum(each["event"] == event for each in self.events())

    def end(self) -> None:
        """Make sure that it is gone."""
        self.popen.kill()
        self.popen.wait()


def test_a_thousand_callers_of_three_processes_get_one_lease(cache: ServiceProcess, tmp_path: Path) -> None:
    """Exactly one of 1,000 concurrent acquirers generates; everyone else is served what it made."""
    processes = [Callers(cache, tmp_path, f"p{n}", count) for n, count in enumerate(_COUNTS)]
    try:
        assert [each.popen.wait(_TIMEOUT_S) for each in processes] == [0, 0, 0]
        happened = Counter(each["event"] for process in processes for each in process.events())
        assert happened["leased"] == happened["FILL_OUTCOME_FILLED"] == 1
        assert happened["served"] + happened["ACQUIRE_OUTCOME_HIT"] == sum(_COUNTS) - 1
        assert happened["lost"] == 0
    finally:
        for each in processes:
            each.end()


def test_a_killed_holder_has_one_successor_within_the_lease(cache: ServiceProcess, tmp_path: Path) -> None:
    """A killed holder is succeeded by one of 1,000 waiters in three processes, when its lease ends."""
    holder = Callers(cache, tmp_path, "holder", 1, "hold")
    processes: list[Callers] = []
    try:
        eventually(lambda: holder.count("leased"))
        processes += [Callers(cache, tmp_path, f"p{n}", count) for n, count in enumerate(_COUNTS)]
        eventually(lambda: sum(each.count("ACQUIRE_OUTCOME_BUSY") for each in processes) == sum(_COUNTS))
        holder.end()
        assert [each.popen.wait(_TIMEOUT_S) for each in processes] == [0, 0, 0]
        events = [each for process in processes for each in process.events()]
        happened = Counter(each["event"] for each in events)
        assert happened["leased"] == happened["FILL_OUTCOME_FILLED"] == 1
        assert happened["served"] == sum(_COUNTS) - 1
        assert happened["lost"] == 0
        (began,) = (each["at"] for each in holder.events() if each["event"] == "leased")
        (went_on,) = (each["at"] for each in events if each["event"] == "leased")
        # By the lease's own time: it was never given out early, and no second lease's time passed.
        assert 0.9 * cache_caller.LEASE_S < went_on - began < 2 * cache_caller.LEASE_S
    finally:
        for each in (holder, *processes):
            each.end()
