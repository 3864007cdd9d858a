"""What 100,000 items cost the processor on their way in: memory and time, until stored and until started.

The items come through BatchAddItems, a thousand at a time. Memory is the most the processor had resident,
above what it had before; neighbours and model endpoint answer nobody, so that no work is measured. Run it
from the repository's root: `python -m benchmarks.intake`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import psutil
from contentfactory.processor.v1 import processor_pb2, processor_pb2_grpc

from benchmarks.support.factory import SHAPES, add_items
from benchmarks.support.metering import peak_memory_mib
from benchmarks.support.report import Report
from tests.support.processes import ServiceProcess, running_service

ITEMS = 100_000
MOST_GROWTH_MIB = 150 * 1e6 / 2**20
"""150 MB, as the bar is written."""


def main() -> int:
    """Run it; the exit code is 1 when the bar is missed."""
    arguments = _arguments()
    report = Report(judging=arguments.items >= ITEMS)
    report.machine()
    # The processor alone: a discarded port stands for the neighbours, which intake does not ask.
    nobody = "127.0.0.1:9"
    environment = {f"{name}_TARGETS": nobody for name in ("CACHE", "OPTIMIZER", "TRACKER")}
    environment["PROCESSOR_MODEL_URL"] = f"http://{nobody}"
    with (
        TemporaryDirectory(prefix="intake-") as directory,
        running_service("processor", environment, directory=Path(directory)) as processor,
    ):
        _measure(report, processor, arguments.items, shape=arguments.shape)
    return int(report.short)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS, help="how many items")
    parser.add_argument(
        "--shape", choices=SHAPES, default="groups", help="what the items are, as in `benchmarks.pipeline`"
    )
    return parser.parse_args()


def _measure(report: Report, processor: ServiceProcess, items: int, *, shape: str) -> None:
    pid = processor.popen.pid
    before = psutil.Process(pid).memory_info().rss / 2**20
    report.figure("intake_memory_before", before, "MiB")
    with grpc.insecure_channel(processor.address) as channel:
        stub = processor_pb2_grpc.ProcessorServiceStub(channel)
        job_id = stub.CreateJob(processor_pb2.CreateJobRequest(display_name="intake")).job.job_id
        started = time.perf_counter()
        add_items(stub, job_id, [SHAPES[shape](number) for number in range(items)])
        report.figure("intake_rate", items / (time.perf_counter() - started), "items/s")
        grown = peak_memory_mib(pid) - before
        report.figure("intake_growth_when_added", grown, "MiB", at_most=MOST_GROWTH_MIB)
        started = time.perf_counter()
        stub.StartJob(processor_pb2.StartJobRequest(job_id=job_id))
        report.figure("intake_start", time.perf_counter() - started, "s")
        grown = peak_memory_mib(pid) - before
        report.figure("intake_growth_when_started", grown, "MiB", at_most=MOST_GROWTH_MIB)


if __name__ == "__main__":
    sys.exit(main())
