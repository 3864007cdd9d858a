"""A client of the factory as users write them: jobs are submitted, followed and collected over plain gRPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from contentfactory.cache.v1 import cache_pb2_grpc
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.processor.v1 import processor_pb2_grpc
from contentfactory.tracker.v1 import tracker_pb2, tracker_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

TERMINAL = frozenset(
    {
        pb.JOB_STATE_SUCCEEDED,
        pb.JOB_STATE_PARTIALLY_SUCCEEDED,
        pb.JOB_STATE_FAILED,
        pb.JOB_STATE_CANCELLED,
    }
)
DERIVED = (
    "podcast_script",
    "study_guide",
    "one_pager",
    "detailed_reading",
    "faq",
    "flashcards",
    "reading_questions",
)
_BATCH = 500
_CALL_S = 20.0
_JOB_S = 60.0
_AGAIN_S = 0.05


class FactoryClient:
    """Stubs of the four services, and the few steps that every job takes.

    Attributes:
        processor: Stub of the processor.
        cache: Stub of the cache.
        optimizer: Stub of the optimizer.
        tracker: Stub of the tracker.
    """

    def __init__(self, addresses: Mapping[str, str], *, token: str = "") -> None:
        """Open channels.

        Args:
            addresses: Where the services are, by name.
            token: The bearer token to present; empty: none.
        """
        # A fresh connection is tried often, because tests kill servers.
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channels = [grpc.insecure_channel(address, options) for address in addresses.values()]
        opened = {
            name: grpc.intercept_channel(channel, _Bearer(token)) if token else channel
            for name, channel in zip(addresses, self._channels, strict=True)
        }
        self.processor = processor_pb2_grpc.ProcessorServiceStub(opened["processor"])
        self.cache = cache_pb2_grpc.CacheServiceStub(opened["cache"])
        self.optimizer = optimizer_pb2_grpc.OptimizerServiceStub(opened["optimizer"])
        self.tracker = tracker_pb2_grpc.TrackerServiceStub(opened["tracker"])

    def close(self) -> None:
        """Close the channels."""
        for each in self._channels:
            each.close()

    def draft(
        self,
        items: Sequence[pb.JobItem],
        *,
        priority: pb.JobPriority.ValueType = pb.JOB_PRIORITY_UNSPECIFIED,
        max_cost_micros: int = 0,
    ) -> str:
        """Create a job with items, without starting it, and return its id."""
        wanted = pb.CreateJobRequest(priority=priority)
        if max_cost_micros:
            wanted.terms.max_cost_micros = max_cost_micros
        created = self.processor.CreateJob(wanted, timeout=_CALL_S)
        job_id = created.job.job_id
        for start in range(0, len(items), _BATCH):
            request = pb.BatchAddItemsRequest(job_id=job_id, items=items[start : start + _BATCH])
            answer = self.processor.BatchAddItems(request, timeout=_CALL_S)
            refused = [each.error for each in answer.results if each.HasField("error")]
            assert not refused, refused[0]
        return job_id

    def start(self, job_id: str, *, traceparent: str = "") -> None:
        """Start a job, as part of a trace if one is given."""
        metadata = (("traceparent", traceparent),) if traceparent else ()
        self.processor.StartJob(pb.StartJobRequest(job_id=job_id), timeout=_CALL_S, metadata=metadata)

    def submit(
        self, items: Sequence[pb.JobItem], *, priority: pb.JobPriority.ValueType = pb.JOB_PRIORITY_UNSPECIFIED
    ) -> str:
        """Create a job with items, start it, and return its id."""
        job_id = self.draft(items, priority=priority)
        self.start(job_id)
        return job_id

    def job(self, job_id: str) -> pb.Job:
        """Return a job as it is now."""
        return self.processor.GetJob(pb.GetJobRequest(job_id=job_id), timeout=_CALL_S).job

    def wait(self, job_id: str, *, timeout_s: float = _JOB_S) -> pb.Job:
        """Return a job once it is finished and its totals are settled; waits for a processor that is away.

        Raises:
            AssertionError: If it does not finish in time.
        """
        ends_at = time.monotonic() + timeout_s
        job = None
        while time.monotonic() < ends_at:
            try:
                job = self.job(job_id)
            except grpc.RpcError as error:
                _pass_outage(error)
            else:
                if job.state in TERMINAL and job.HasField("finish_time"):
                    return job
            time.sleep(_AGAIN_S)
        raise AssertionError(f"job {job_id} is not finished after {timeout_s} s: {job}")

    def wait_for_rest(self, job_id: str, *, timeout_s: float = _JOB_S) -> pb.Job:
        """Return a job once it rests for want of budget and nothing of it is out; waits likewise.

        Raises:
            AssertionError: If it does not in time.
        """
        ends_at = time.monotonic() + timeout_s
        job = None
        while time.monotonic() < ends_at:
            try:
                job = self.job(job_id)
            except grpc.RpcError as error:
                _pass_outage(error)
            else:
                if job.state_reason.reason == "BUDGET_EXHAUSTED" and not job.reserved_micros:
                    return job
            time.sleep(_AGAIN_S)
        raise AssertionError(f"job {job_id} does not rest after {timeout_s} s: {job}")

    def set_cap(self, job_id: str, micros: int) -> pb.Job:
        """Give a job another cap and return what it becomes."""
        job = pb.Job(job_id=job_id, terms=pb.JobTerms(max_cost_micros=micros))
        request = pb.UpdateJobRequest(job=job, update_mask=FieldMask(paths=["terms.max_cost_micros"]))
        return self.processor.UpdateJob(request, timeout=_CALL_S).job

    def results(self, job_id: str, *, timeout_s: float = _JOB_S) -> list[pb.ItemResult]:
        """Return every result that StreamResults sends, continuing by token when the stream is cut."""
        received: list[pb.ItemResult] = []
        token = ""
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            request = pb.StreamResultsRequest(job_id=job_id, resume_token=token)
            try:
                for frame in self.processor.StreamResults(request, timeout=ends_at - time.monotonic()):
                    received += frame.results
                    token = frame.resume_token
            except grpc.RpcError as error:
                _pass_outage(error)
                time.sleep(_AGAIN_S)
            else:
                return received
        raise AssertionError(f"the results of job {job_id} did not end; {len(received)} came")

    def events(self, job_id: str, *, timeout_s: float = _JOB_S) -> list[tracker_pb2.ProgressEvent]:
        """Return every event of a job up to its last, continuing by token when the stream is cut."""
        received: list[tracker_pb2.ProgressEvent] = []
        request = tracker_pb2.WatchProgressRequest(
            job_id=job_id, mode=tracker_pb2.WATCH_MODE_EVENTS, wait_for_job=True
        )
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            try:
                for frame in self.tracker.WatchProgress(request, timeout=ends_at - time.monotonic()):
                    received += frame.events
                    request.resume_token = frame.resume_token
            except grpc.RpcError as error:
                _pass_outage(error)
                time.sleep(_AGAIN_S)
            else:
                return received
        raise AssertionError(f"the events of job {job_id} did not end; {len(received)} came")

    def finished_items(self, job_id: str) -> int:
        """Return how many results there are now."""
        finished, token = 0, ""
        while True:
            request = pb.ListResultsRequest(job_id=job_id, page_size=1_000, page_token=token)
            page = self.processor.ListResults(request, timeout=_CALL_S)
            finished += len(page.results)
            token = page.next_page_token
            if not token:
                return finished

    def breakers(self) -> dict[str, str]:
        """Return the states of the processor's breakers, by what they guard."""
        capacity = self.processor.GetCapacity(pb.GetCapacityRequest(), timeout=_CALL_S)
        return {each.name: pb.BreakerState.Name(each.state) for each in capacity.breakers}


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    def __init__(self, token: str) -> None:
        self._pair = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with(details, self._pair), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with(details, self._pair), request)


def _with(details: Any, pair: tuple[str, str]) -> Any:
    return details._replace(metadata=(*(details.metadata or ()), pair))


def _pass_outage(error: grpc.RpcError) -> None:
    """Let a server that is away or going away pass, and nothing else."""
    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        raise error


def raw_item(item_id: str, text: str, *, max_tokens: int = 128, content_type: str = "") -> pb.JobItem:
    """Return an item with a prompt that is taken literally."""
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=text)
    item = pb.JobItem(item_id=item_id)
    item.spec.raw.CopyFrom(pb.RawPrompt(messages=[message], max_tokens=max_tokens))
    item.spec.content_type = content_type
    return item


def raw_items(count: int, about: str = "prompt") -> list[pb.JobItem]:
    """Return items with distinct prompts."""
    return [raw_item(f"item-{number}", f"{about} {number}") for number in range(count)]


def topic_items(topics: int, about: str = "Topic") -> list[pb.JobItem]:
    """Return the eight pieces of each topic: an outline, and what is made from it."""
    items: list[pb.JobItem] = []
    for number in range(topics):
        variables = {"topic": f"{about} {number}"}
        spec = pb.PieceSpec(template_id="outline", variables=variables)
        items.append(pb.JobItem(item_id=f"t{number}/outline", spec=spec))
        for template in DERIVED:
            spec = pb.PieceSpec(template_id=template, variables=variables)
            item = pb.JobItem(item_id=f"t{number}/{template}", spec=spec)
            item.depends_on.add(item_id=f"t{number}/outline", variable="outline")
            items.append(item)
    return items
