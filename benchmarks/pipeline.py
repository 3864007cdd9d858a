"""Items per second through all four services, beside the bare minimum and beside the openai SDK, in one run.

All processes share two cores: the mock model endpoint, the services and the client. Run it from the
repository's root: `make bench-pipeline`, or `python -m benchmarks.pipeline --quick`. The SDK is run in two
versions: the one its bar was set on, in an environment of its own, and the one in the lock file (0150).

The nearest peer, TensorZero's gateway (Rust) embedded in a Python loop, did 3,400 items/s on two such cores,
64 in flight, against an endpoint that answers at once. It passes a request on and notes it. An item of ours
also has its prompt made from a versioned template, is looked up and leased in the cache, announced before the
call and stored after it (SQLite, committed), scored, filled into the cache and reported to the tracker, in
four processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.support.bare_loop import run_bare_loop
from benchmarks.support.factory import SHAPES, Run, four_services, run_job
from benchmarks.support.metering import Meter, Taken, peak_memory_mib
from benchmarks.support.report import Report
from benchmarks.support.sent import IN_FLIGHT
from tests.support.mock_process import MockProcess, mock_endpoint

CORES = 2
ITEMS, QUICK_ITEMS = 20_000, 2_000
OPENAI_ITEMS = 1_500
LEAST_ITEMS_PER_S = 1_800.0
LEAST_RATIO_TO_OPENAI = 5.0
BAR_SET_ON = "2.30"
"""The version of the SDK whose 350 items/s are behind that bar."""


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    arguments = _arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    # In a short run, starting up and the last second's settling weigh too much to judge by.
    report = Report(judging=arguments.items >= ITEMS)
    report.machine()
    bare = _bare_loop(report, arguments.items)
    openai_items = min(OPENAI_ITEMS, arguments.items)
    report.remark(f"the openai SDK is slow: {openai_items} items stand for its rate")
    older = Path(sys.prefix, f"openai-{BAR_SET_ON}", "bin", "python")
    before = _openai_loop(report, "openai_sdk", older, openai_items) if older.exists() else None
    today = _openai_loop(report, "openai_sdk_today", Path(sys.executable), openai_items)
    factory = _factory(report, arguments.shape, arguments.items)
    report.figure("factory_to_bare_loop", factory / bare, "ratio")
    report.figure("factory_to_openai_sdk_today", factory / today, "ratio")
    if before is None:
        report.remark(f"no SDK {BAR_SET_ON}, which the bar was set on: `make bench-pipeline` installs it")
    else:
        report.figure("factory_to_openai_sdk", factory / before, "ratio", at_least=LEAST_RATIO_TO_OPENAI)
    return int(report.short or before is None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS, help="how many distinct items")
    parser.add_argument(
        "--quick", dest="items", action="store_const", const=QUICK_ITEMS, help=f"{QUICK_ITEMS} items"
    )
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default="templates",
        help="templates: independent items of the eight built-in templates; groups: an outline and the seven "
        "pieces that use it per topic; raw: the very messages of the baselines",
    )
    return parser.parse_args()


def _bare_loop(report: Report, items: int) -> float:
    """Measure the bare minimum; return its items per second."""
    with mock_endpoint() as mock:
        meter = Meter({"client": os.getpid(), "mock": mock.pid})
        distinct = len(run_bare_loop(mock.url, items))
        taken = meter.read()
        _demand(distinct == items, f"the bare loop got {distinct} distinct texts for {items} items")
    report.figure("bare_loop_rate", items / taken.wall_s, "items/s")
    _cpu(report, "bare_loop", items, taken=taken)
    return items / taken.wall_s


def _openai_loop(report: Report, name: str, python: Path, items: int) -> float:
    """Measure the SDK of an environment; return its items per second."""
    with mock_endpoint() as mock:
        command = [str(python), "-m", "benchmarks.support.openai_loop", mock.url, str(items)]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    version = done["version"]
    _demand(
        done["distinct"] == items, f"SDK {version} got {done['distinct']} distinct texts for {items} items"
    )
    report.remark(f"openai SDK {version}:")
    report.figure(f"{name}_rate", items / done["wall_s"], "items/s")
    report.figure(f"{name}_cpu_client", done["cpu_s"] * 1_000 / items, "cpu_s/1000_items")
    return float(items / done["wall_s"])


def _factory(report: Report, shape: str, items: int) -> float:
    """Measure the four services; return their items per second."""
    with (
        TemporaryDirectory(prefix="pipeline-") as directory,
        mock_endpoint() as mock,
        four_services(mock.url, Path(directory)) as services,
    ):
        pids = {"client": os.getpid(), "mock": mock.pid}
        pids |= {name: service.popen.pid for name, service in services.items()}
        report.remark(f"the factory runs {items} items of shape `{shape}`, {IN_FLIGHT} in flight")
        run = run_job(services["processor"].address, items, make=SHAPES[shape], meter=lambda: Meter(pids))
        _check(run, mock, items)
        report.figure("factory_rate", items / run.taken.wall_s, "items/s", at_least=LEAST_ITEMS_PER_S)
        report.figure("factory_result_stream_rate", items / run.streamed_s, "items/s")
        _cpu(report, "factory", items, taken=run.taken)
        _limit(report, items, taken=run.taken)
        for name, service in services.items():
            report.figure(f"factory_peak_memory_{name}", peak_memory_mib(service.popen.pid), "MiB")
    return items / run.taken.wall_s


def _cpu(report: Report, name: str, items: int, *, taken: Taken) -> None:
    for process, seconds in taken.cpu_s.items():
        report.figure(f"{name}_cpu_{process}", seconds * 1_000 / items, "cpu_s/1000_items")


def _limit(report: Report, items: int, *, taken: Taken) -> None:
    """Say what holds the factory: the cores, or the waiting within it."""
    busy = sum(taken.cpu_s.values())
    report.figure("factory_cpu_all", busy * 1_000 / items, "cpu_s/1000_items")
    report.figure("factory_cores_busy", busy / taken.wall_s, f"of {CORES}")
    report.figure("factory_rate_if_cores_were_full", CORES * items / busy, "items/s")
    hungriest = max(taken.cpu_s, key=taken.cpu_s.__getitem__)
    share = taken.cpu_s[hungriest] / taken.wall_s
    report.remark(
        f"`{hungriest}` takes most: {share:.0%} of a core; one interpreter cannot use much more than one"
    )


def _check(run: Run, mock: MockProcess, items: int) -> None:
    """Believe no figure of a run that did not do its work, by the endpoint's own count."""
    asked = mock.counts()["completions"]
    _demand(run.counts.succeeded == items, f"the job did not succeed: {run.counts}")
    _demand(asked == items, f"the endpoint was asked {asked} times for {items} items")
    _demand(run.distinct == items, f"StreamResults brought {run.distinct} distinct contents of {items}")


def _demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that -O leaves in
    if not condition:
        raise RuntimeError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
