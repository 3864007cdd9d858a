"""How near the processor keeps an endpoint to what it bears, beside exponential backoff at fixed concurrency.

Both run at the same time, each against a mock endpoint of its own with the same script, and are judged by
that endpoint's log. The oracle knows the capacity and keeps the endpoint exactly full. Run it from the
repository's root: `python -m benchmarks.capacity`, or with `--only fixed`.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from contentfactory.processor.v1 import processor_pb2, processor_pb2_grpc

from benchmarks.support.capacity_log import CapacityLog, Phase
from benchmarks.support.factory import add_items, raw_item
from benchmarks.support.report import Report
from benchmarks.support.sent import MODEL
from tests.support.mock_process import MockProcess, mock_endpoint
from tests.support.processes import ServiceProcess, running_service

SERVICE_MS, SIGMA = 400.0, 0.2
SERVICE_S = SERVICE_MS / 1_000 * math.exp(SIGMA**2 / 2)
CEILING = 256
SETTLING_S = 10.0
OURS, THEIRS = "factory", "backoff"


@dataclass(frozen=True, slots=True)
class Scenario:
    """An endpoint's script.

    Attributes:
        name: Names it.
        phases: What it bears; 0 refuses everything.
        queues: Whether it lets calls beyond that wait, in silence, instead of refusing them.
    """

    name: str
    phases: tuple[Phase, ...]
    queues: bool = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.phases[-1].stop

    @property
    def plan(self) -> dict[str, object]:
        """The mock endpoint's plan."""
        steps = [[each.start, each.concurrent] for each in self.phases]
        return {"steps": steps, "over": "queue" if self.queues else "refuse"}


def _phases(*parts: tuple[float, int]) -> tuple[Phase, ...]:
    made, at = [], 0.0
    for seconds, concurrent in parts:
        made.append(Phase(at, at + seconds, concurrent))
        at += seconds
    return tuple(made)


SCENARIOS = (
    Scenario("fixed", _phases((60, 32))),
    Scenario("stepped", _phases((25, 24), (35, 80), (30, 12))),
    Scenario("silent", _phases((25, 24), (35, 72), (30, 12)), queues=True),
    Scenario("refusing", _phases((20, 32), (30, 0), (25, 32))),
)


def main() -> int:
    """Run them all; the exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[each.name for each in SCENARIOS], help="one scenario")
    only = parser.parse_args().only
    report = Report()
    report.machine()
    for scenario in SCENARIOS:
        if only in (None, scenario.name):
            for who, log in _run(scenario).items():
                _judge(report, scenario, who, log=log)
    return int(report.short)


def _run(scenario: Scenario) -> dict[str, CapacityLog]:
    """Let both work on a scenario at the same time."""
    with TemporaryDirectory(prefix="capacity-") as name, ExitStack() as stack:
        directory = Path(name)
        mocks = {who: stack.enter_context(_endpoint(directory / f"{who}.jsonl")) for who in (OURS, THEIRS)}
        processor = stack.enter_context(_services(mocks[OURS].url, directory))
        most = max(each.concurrent for each in scenario.phases)
        job_id = _fill(processor.address, int(scenario.seconds * most / SERVICE_S * 1.1))
        since = time.time()
        for mock in mocks.values():
            mock.bear(scenario.plan)
        _start(processor.address, job_id)
        command = [sys.executable, "-m", "benchmarks.support.backoff_loop"]
        with subprocess.Popen([*command, mocks[THEIRS].url, str(scenario.seconds)]) as theirs:
            time.sleep(max(0.0, since + scenario.seconds - time.time()))
            theirs.terminate()
        return {
            who: CapacityLog.read(
                directory / f"{who}.jsonl",
                scenario.phases,
                since=since,
                service_s=SERVICE_S if scenario.queues else None,
            )
            for who in mocks
        }


@contextmanager
def _endpoint(log: Path) -> Iterator[MockProcess]:
    with mock_endpoint(latency_ms=SERVICE_MS, latency_sigma=SIGMA, log=log) as mock:
        yield mock


@contextmanager
def _services(model_url: str, directory: Path) -> Iterator[ServiceProcess]:
    """Run the four services, with a ceiling that no scenario reaches."""
    with ExitStack() as stack:
        env = {"PROCESSOR_MODEL_URL": model_url, "PROCESSOR_MODEL": MODEL}
        env["PROCESSOR_MAX_CONCURRENCY"] = str(CEILING)
        for name in ("cache", "optimizer", "tracker"):
            service = stack.enter_context(running_service(name, None, directory=directory))
            env[f"{name.upper()}_TARGETS"] = service.address
        yield stack.enter_context(running_service("processor", env, directory=directory))


def _fill(address: str, items: int) -> str:
    """Put a job together that lasts for the whole scenario."""
    with grpc.insecure_channel(address) as channel:
        stub = processor_pb2_grpc.ProcessorServiceStub(channel)
        job_id: str = stub.CreateJob(processor_pb2.CreateJobRequest(display_name="capacity")).job.job_id
        add_items(stub, job_id, [raw_item(number) for number in range(items)])
        return job_id


def _start(address: str, job_id: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = processor_pb2_grpc.ProcessorServiceStub(channel)
        stub.StartJob(processor_pb2.StartJobRequest(job_id=job_id))


def _judge(report: Report, scenario: Scenario, who: str, *, log: CapacityLog) -> None:
    """Print what one of them made of a scenario; only ours has bars."""
    ours = who == OURS
    name = f"{scenario.name}_{who}"
    if scenario.name == "refusing":
        _judge_refusing(report, scenario, who, log=log)
        return
    share = log.throughput_share(0, scenario.seconds)
    bar = 0.95 if ours and scenario.name == "fixed" else None
    report.figure(f"{name}_throughput_to_oracle", share, "ratio", at_least=bar)
    report.figure(f"{name}_refused", 100 * log.refused_share(), "%", at_most=1.0 if ours else None)
    for phase in scenario.phases[1:]:
        report.figure(
            f"{name}_to_{phase.concurrent}_reached",
            log.reached_in_s(phase),
            "s",
            at_most=30.0 if ours else None,
        )
    if scenario.queues:
        last = scenario.phases[-1]
        report.figure(f"{name}_latency_to_idle", log.slowdown(last.stop - 10, last.stop), "ratio")


def _judge_refusing(report: Report, scenario: Scenario, who: str, *, log: CapacityLog) -> None:
    ours = who == OURS
    name = f"{scenario.name}_{who}"
    before, away, after = scenario.phases
    report.figure(
        f"{name}_throughput_to_oracle_before", log.throughput_share(before.start, before.stop), "ratio"
    )
    asked = log.refused_per_s(away.start + SETTLING_S, away.stop)
    report.figure(f"{name}_asked_while_refused", asked, "1/s", at_most=1.0 if ours else None)
    silence = log.longest_silence_s(away.start + SETTLING_S, away.stop)
    report.figure(f"{name}_longest_silence", silence, "s", at_most=5.0 if ours else None)
    report.figure(f"{name}_recovered", log.reached_in_s(after), "s", at_most=10.0 if ours else None)


if __name__ == "__main__":
    sys.exit(main())
