"""The four real service processes, and one job of many items driven through them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from contentfactory.processor.v1 import processor_pb2, processor_pb2_grpc

from benchmarks.support.metering import Meter, Taken
from benchmarks.support.sent import IN_FLIGHT, MAX_TOKENS, MODEL, conversation
from tests.support.processes import ServiceProcess, running_service

OUTLINE = "outline"
DERIVED = (
    "podcast_script",
    "study_guide",
    "one_pager",
    "detailed_reading",
    "faq",
    "flashcards",
    "reading_questions",
)
CONTENT_TYPES = (OUTLINE, *DERIVED)

_BATCH = 1_000
_POLL_S = 0.1
_GIVE_UP_S = 600
_FINISHED = {
    processor_pb2.JOB_STATE_SUCCEEDED,
    processor_pb2.JOB_STATE_PARTIALLY_SUCCEEDED,
    processor_pb2.JOB_STATE_FAILED,
    processor_pb2.JOB_STATE_CANCELLED,
}

ItemMaker = Callable[[int], processor_pb2.JobItem]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished job.

    Attributes:
        taken: From StartJob until GetJob said that it had finished.
        counts: The job's own counts.
        distinct: Distinct contents that StreamResults brought.
        streamed_s: How long StreamResults took for all of them, afterwards.
    """

    taken: Taken
    counts: processor_pb2.ItemCounts
    distinct: int
    streamed_s: float


@contextmanager
def four_services(
    model_url: str, directory: Path, env: Mapping[str, str] | None = None
) -> Iterator[dict[str, ServiceProcess]]:
    """Run the four services on free ports, with stores in a directory unless `env` says otherwise."""
    with ExitStack() as stack:
        services: dict[str, ServiceProcess] = {}
        for name in ("cache", "optimizer", "tracker"):
            services[name] = stack.enter_context(running_service(name, env, directory=directory))
        environment = {f"{name.upper()}_TARGETS": service.address for name, service in services.items()}
        environment |= {
            **(env or {}),
            "PROCESSOR_MODEL_URL": model_url,
            "PROCESSOR_MODEL": MODEL,
            "PROCESSOR_MAX_CONCURRENCY": str(IN_FLIGHT),
        }
        services["processor"] = stack.enter_context(
            running_service("processor", environment, directory=directory)
        )
        yield services


def run_job(
    address: str, items: int, *, make: ItemMaker, meter: Callable[[], Meter], poll_s: float = _POLL_S
) -> Run:
    """Put a job together, run it, and collect its results.

    Args:
        address: The processor.
        items: How many.
        make: Makes the n-th item.
        meter: Begins to measure; called just before StartJob.
        poll_s: How often to ask whether the job has finished.
    """
    with grpc.insecure_channel(address) as channel:
        stub = processor_pb2_grpc.ProcessorServiceStub(channel)
        job_id = stub.CreateJob(processor_pb2.CreateJobRequest(display_name="benchmark")).job.job_id
        add_items(stub, job_id, [make(number) for number in range(items)])
        measuring = meter()
        stub.StartJob(processor_pb2.StartJobRequest(job_id=job_id))
        job = _wait(stub, job_id, poll_s)
        taken = measuring.read()
        started = time.perf_counter()
        distinct = _distinct_contents(stub, job_id)
        return Run(taken, job.counts, distinct, time.perf_counter() - started)


def template_item(number: int) -> processor_pb2.JobItem:
    """Make an item of one of the eight built-in templates, each for a subject of its own."""
    content_type = CONTENT_TYPES[number % len(CONTENT_TYPES)]
    return _item(f"item-{number}", content_type, f"subject number {number}")


def group_item(number: int) -> processor_pb2.JobItem:
    """Make an item of a topic's eight pieces: first its outline, then the seven that use it."""
    topic, place = divmod(number, len(CONTENT_TYPES))
    content_type = CONTENT_TYPES[place]
    item = _item(f"topic-{topic}/{content_type}", content_type, f"subject number {topic}")
    if content_type != OUTLINE:
        item.depends_on.add(item_id=f"topic-{topic}/{OUTLINE}", variable=OUTLINE)
    return item


def raw_item(number: int) -> processor_pb2.JobItem:
    """Make an item of the messages that the baselines send too."""
    item = processor_pb2.JobItem(item_id=f"item-{number}")
    item.spec.raw.max_tokens = MAX_TOKENS
    roles = {
        "system": processor_pb2.ChatMessage.ROLE_SYSTEM,
        "user": processor_pb2.ChatMessage.ROLE_USER,
    }
    for message in conversation(number):
        item.spec.raw.messages.add(role=roles[message["role"]], content=message["content"])
    return item


SHAPES: dict[str, ItemMaker] = {"templates": template_item, "groups": group_item, "raw": raw_item}


def _item(item_id: str, template_id: str, topic: str) -> processor_pb2.JobItem:
    spec = processor_pb2.PieceSpec(template_id=template_id, variables={"topic": topic})
    return processor_pb2.JobItem(item_id=item_id, spec=spec)


def add_items(
    stub: processor_pb2_grpc.ProcessorServiceStub, job_id: str, items: list[processor_pb2.JobItem]
) -> None:
    """Add items to a job, in batches."""
    for start in range(0, len(items), _BATCH):
        request = processor_pb2.BatchAddItemsRequest(job_id=job_id, items=items[start : start + _BATCH])
        for result in stub.BatchAddItems(request).results:
            if result.HasField("error"):
                raise RuntimeError(f"an item was refused: {result.error.message}")


def _wait(stub: processor_pb2_grpc.ProcessorServiceStub, job_id: str, poll_s: float) -> processor_pb2.Job:
    gives_up_at = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < gives_up_at:
        job = stub.GetJob(processor_pb2.GetJobRequest(job_id=job_id)).job
        if job.state in _FINISHED:
            return job
        time.sleep(poll_s)
    raise RuntimeError(f"the job did not finish within {_GIVE_UP_S} s: {job.counts}")


def _distinct_contents(stub: processor_pb2_grpc.ProcessorServiceStub, job_id: str) -> int:
    frames = stub.StreamResults(processor_pb2.StreamResultsRequest(job_id=job_id), timeout=_GIVE_UP_S)
    return len({result.piece.content for frame in frames for result in frame.results})
