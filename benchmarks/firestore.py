"""What fresh items cost in the operations that Firestore bills, by collection, on the real emulator.

The same job twice: with a model that answers at once, and with one that takes its time, where less comes
together in one write. Counted by the services themselves (`store_operations_total`). Run it from the
repository's root: `python -m benchmarks.firestore`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from benchmarks.support.factory import four_services, group_item, run_job
from benchmarks.support.metering import Meter
from benchmarks.support.report import Report
from tests.support.firestore_emulator import own_emulator
from tests.support.mock_process import mock_endpoint
from tests.support.processes import ServiceProcess
from tests.support.scrape import scrape

JOBS = ((0, 10_000), (1_000, 1_000))
"""The model's latency in milliseconds, and how many items: enough to last some seconds."""

MOST_WRITES, MOST_READS = 400, 300
MOST_HOT_WRITES_PER_S = 1.0
_METRIC = "store_operations_total"
_POLL_S = 2.0  # each look at a running job reads its shards, and is paid too
_LOOK_S = 0.25
_QUIET_S = 7.0  # longer than any service lingers before a write

Operations = Counter[tuple[str, str, str]]
"""How many, by service, collection and operation."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job cost.

    Attributes:
        items: How many it had.
        seconds: From its start to its end.
        all: From its creation until all was written, its results read once.
        running: Of these, the operations since its start.
        writing_s: From its start until its own documents were written last, which may be after its end.
    """

    items: int
    seconds: float
    all: Operations
    running: Operations
    writing_s: float


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    report = Report()
    report.machine()
    with own_emulator() as emulator:
        for latency_ms, items in JOBS:
            env = {
                "STORE_URL": f"firestore://bench-{uuid4().hex[:12]}/(default)",
                "FIRESTORE_EMULATOR_HOST": emulator.host,
            }
            _report(report, f"latency_{latency_ms}ms", _job(latency_ms, items, env))
    return int(report.short)


def _job(latency_ms: int, items: int, env: Mapping[str, str]) -> Spent:
    """Return what a job of fresh items cost."""
    with (
        TemporaryDirectory() as directory,
        mock_endpoint(latency_ms=latency_ms) as mock,
        four_services(mock.url, Path(directory), env) as services,
    ):
        before, _ = _settled(services)
        at_start: list[tuple[Operations, float]] = []
        pids = {name: each.popen.pid for name, each in services.items()}

        def begin() -> Meter:
            at_start.append((_operations(services), time.monotonic()))
            return Meter(pids)

        run = run_job(services["processor"].address, items, make=group_item, meter=begin, poll_s=_POLL_S)
        assert run.counts.succeeded == run.distinct == items, run
        after, last_write = _settled(services)
        [(started, started_at)] = at_start
        writing_s = max(run.taken.wall_s, last_write - started_at)
        return Spent(items, run.taken.wall_s, after - before, after - started, writing_s)


def _settled(services: Mapping[str, ServiceProcess]) -> tuple[Operations, float]:
    """Return the counts once nothing is written any more, and when a job's document was written last."""
    last_write, hot = float("-inf"), _hot_writes(_operations(services))
    quiet_at = time.monotonic() + _QUIET_S
    while time.monotonic() < quiet_at:
        time.sleep(_LOOK_S)
        now = _hot_writes(_operations(services))
        if now != hot:
            last_write, hot = time.monotonic(), now
    return _operations(services), last_write


def _hot_writes(operations: Operations) -> tuple[int, int]:
    """Return how often the job's own documents were written, the tracker's and the processor's."""
    return operations["tracker", "jobs", "write"], operations["processor", "jobs", "write"]


def _operations(services: Mapping[str, ServiceProcess]) -> Operations:
    found: Operations = Counter()
    for name, service in services.items():
        for each in scrape(service).samples:
            if each.name == _METRIC:
                found[name, each.labels["collection"], each.labels["operation"]] += round(each.value)
    return found


def _report(report: Report, name: str, spent: Spent) -> None:
    report.remark(f"{name}: {spent.items} items in {spent.seconds:.1f} s")
    for service, collection in sorted({each[:2] for each in spent.all}):
        counts = {each[2]: count for each, count in spent.all.items() if each[:2] == (service, collection)}
        said = ", ".join(f"{count} {operation}" for operation, count in sorted(counts.items()))
        report.remark(f"{name} {service}_{collection}: {said}")
    totals = Counter[str]()
    for (_, _, operation), count in spent.all.items():
        totals[operation] += count
    each_1000 = 1_000 / spent.items
    report.figure(
        f"firestore_{name}_writes", totals["write"] * each_1000, "documents/1000", at_most=MOST_WRITES
    )
    report.figure(f"firestore_{name}_reads", totals["read"] * each_1000, "documents/1000", at_most=MOST_READS)
    report.figure(f"firestore_{name}_deletes", totals["delete"] * each_1000, "documents/1000")
    report.figure(f"firestore_{name}_index_entries", totals["index_entry"] * each_1000, "entries/1000")
    report.figure(
        f"firestore_{name}_hot_document",
        max(_hot_writes(spent.running)) / spent.writing_s,
        "writes/s",
        at_most=MOST_HOT_WRITES_PER_S,
    )


if __name__ == "__main__":
    sys.exit(main())
