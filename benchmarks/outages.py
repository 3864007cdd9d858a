"""A job's throughput with each neighbour away for all of it, beside the healthy factory, in one run.

Twice: with a model that takes 200 ms and 64 slots, so that the model is the limit and an outage may cost next
to nothing; and with an instant model, where our own CPU is. Each neighbour is killed before the job and
started again after it, in turns, so that whatever else the machine does hits all alike; medians are compared.
Run it from the repository's root: `python -m benchmarks.outages`, or with `--quick`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from contentfactory.processor.v1 import processor_pb2 as pb

from benchmarks.support.report import Report
from tests.support.factory import NEIGHBOURS, Factory, eventually, running_factory
from tests.support.factory_client import FactoryClient, topic_items

SLOTS = 64
LATENCY_MS = 200.0
ROUNDS, QUICK_ROUNDS = 5, 1
LEAST_RATIO = 0.95
HEALTHY = "healthy"

_PER_TOPIC = 8
_TOPICS = {LATENCY_MS: 320, 0.0: 150}
"""How many make a job of about eight seconds, so that how it begins and ends does not decide."""

_SETTINGS = {
    "PROCESSOR_COMMIT_INTERVAL_S": "0.25",
    "PROCESSOR_SETTLE_INTERVAL_S": "1",
    "PROCESSOR_POLL_S": "0.5",
    "PROCESSOR_LEASE_S": "15",
}
_JOB_S = 300.0


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    arguments = _arguments()
    report = Report(judging=arguments.rounds >= ROUNDS)
    report.machine()
    for latency_ms in (LATENCY_MS, 0.0):
        with TemporaryDirectory(prefix="outages-") as directory:
            _compare(report, Path(directory), latency_ms, rounds=arguments.rounds, slots=arguments.slots)
    return int(report.short)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="jobs per case")
    parser.add_argument(
        "--quick", dest="rounds", action="store_const", const=QUICK_ROUNDS, help=f"{QUICK_ROUNDS} per case"
    )
    parser.add_argument(
        "--slots", type=int, default=SLOTS, help="model calls at a time; fewer where others use the cores"
    )
    return parser.parse_args()


def _compare(report: Report, directory: Path, latency_ms: float, *, rounds: int, slots: int) -> None:
    """Measure all cases with one model, in an order that turns with each round."""
    title = f"model_{latency_ms:.0f}ms"
    rates: dict[str, list[float]] = {case: [] for case in (HEALTHY, *NEIGHBOURS)}
    settings = {**_SETTINGS, "PROCESSOR_MAX_CONCURRENCY": str(slots)}
    topics = _TOPICS[latency_ms] * slots // SLOTS
    with running_factory(directory, latency_ms=latency_ms, env={"processor": settings}) as factory:
        client = factory.client()
        _rate(client, f"{title} before", 20)
        for number in range(rounds):
            for case in _turned([*rates], number):
                with _away(factory, client, case):
                    rates[case].append(_rate(client, f"{title} {case} {number}", topics))
    healthy = median(rates[HEALTHY])
    report.figure(f"{title}_healthy", healthy, "items/s")
    for name in NEIGHBOURS:
        ratios = [away / whole for away, whole in zip(rates[name], rates[HEALTHY], strict=True)]
        bar = LEAST_RATIO if latency_ms else None
        report.figure(f"{title}_without_{name}", median(rates[name]), "items/s")
        report.figure(f"{title}_without_{name}_to_healthy", median(ratios), "ratio", at_least=bar)


def _turned(cases: list[str], number: int) -> list[str]:
    start = number % len(cases)
    return cases[start:] + cases[:start]


@contextmanager
def _away(factory: Factory, client: FactoryClient, case: str) -> Iterator[None]:
    """Let a neighbour be away, and back and believed in afterwards."""
    if case == HEALTHY:
        yield
        return
    factory.kill(case)
    try:
        yield
    finally:
        factory.restart(case)
        eventually(lambda: _is_trusted(client, case))


def _is_trusted(client: FactoryClient, name: str) -> bool:
    """Make some traffic, and see whether the neighbour's breaker is closed."""
    _rate(client, f"trial of {name} {time.monotonic()}", 1)
    return client.breakers().get(name) == "BREAKER_STATE_CLOSED"


def _rate(client: FactoryClient, about: str, topics: int) -> float:
    """Run a job, demand all of it, and return its items per second."""
    job_id = client.draft(topic_items(topics, about))
    began = time.perf_counter()
    client.start(job_id)
    job = client.wait(job_id, timeout_s=_JOB_S)
    seconds = time.perf_counter() - began
    if job.state != pb.JOB_STATE_SUCCEEDED or job.counts.succeeded != topics * _PER_TOPIC:
        raise RuntimeError(f"not everything was made: {job}")
    return topics * _PER_TOPIC / seconds


if __name__ == "__main__":
    sys.exit(main())
