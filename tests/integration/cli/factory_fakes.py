# ruff: noqa: N802 - method names are the contract's
"""A processor, a tracker and an optimizer that keep their contracts' promises in memory.

Items finish one after the other; what they say is made from their variables, so tests can tell them apart.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from contentfactory.optimizer.v1 import optimizer_pb2, optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.processor.v1 import processor_pb2_grpc
from contentfactory.tracker.v1 import tracker_pb2, tracker_pb2_grpc
from service_common.errors import failed_precondition, invalid_field, not_found, unavailable
from service_common.rpc.status import to_status

# The generated bases answer UNIMPLEMENTED to what a fake leaves out, which their types do not allow.
_PROCESSOR: Any = processor_pb2_grpc.ProcessorServiceServicer
_TRACKER: Any = tracker_pb2_grpc.TrackerServiceServicer
_OPTIMIZER: Any = optimizer_pb2_grpc.OptimizerServiceServicer
FINAL = {
    pb.JOB_STATE_SUCCEEDED,
    pb.JOB_STATE_PARTIALLY_SUCCEEDED,
    pb.JOB_STATE_FAILED,
    pb.JOB_STATE_CANCELLED,
}
STANDARD_VARIABLES = ("topic", "audience", "language", "source", "outline")


@dataclass
class FakeJob:
    """One job and everything the fakes know of it."""

    job: pb.Job
    items: dict[str, pb.JobItem] = field(default_factory=dict)
    results: list[pb.ItemResult] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    work: asyncio.Task[None] | None = None


class FakeProcessor(_PROCESSOR):  # type: ignore[misc]  # as said above
    """Runs jobs in memory."""

    def __init__(self, *, pace_s: float = 0.0, fail: str = "", cut_stream_after: int = 0) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.batches: list[int] = []
        self.updates: list[pb.UpdateJobRequest] = []
        self.created: list[pb.CreateJobRequest] = []
        self.stream_calls = 0
        self.asked_versions: list[pb.ListContentVersionsRequest] = []
        self.seen: dict[str, str] = {}
        self.pace_s = pace_s
        self._fail = fail
        self._cut_stream_after = cut_stream_after

    def find(self, job_id: str) -> FakeJob:
        """Return a job."""
        if job_id not in self.jobs:
            raise not_found("JOB_NOT_FOUND", f"there is no job {job_id}")
        return self.jobs[job_id]

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        """Create a job."""
        self.created.append(request)
        job = pb.Job(
            job_id=f"job-{len(self.jobs) + 1}",
            display_name=request.display_name,
            state=pb.JOB_STATE_DRAFT,
            priority=request.priority,
            labels=request.labels,
        )
        job.create_time.GetCurrentTime()
        self.jobs[job.job_id] = FakeJob(job)
        return pb.CreateJobResponse(job=job)

    async def BatchAddItems(self, request: pb.BatchAddItemsRequest, context: Any) -> pb.BatchAddItemsResponse:
        """Add items; an item whose id holds `refuse` is refused."""
        found = self.find(request.job_id)
        self.batches.append(len(request.items))
        answer = pb.BatchAddItemsResponse()
        for index, item in enumerate(request.items):
            if "refuse" in item.item_id:
                error = invalid_field(f"items[{index}].spec", "is refused by this fake")
                answer.results.add().error.CopyFrom(to_status(error))
                continue
            assert all(each.item_id in found.items for each in item.depends_on)
            found.items[item.item_id] = item
            answer.results.add().value.SetInParent()
        found.job.counts.total = found.job.counts.pending = len(found.items)
        return answer

    async def StartJob(self, request: pb.StartJobRequest, context: Any) -> pb.StartJobResponse:
        """Start a job."""
        found = self.find(request.job_id)
        if not found.items:
            raise failed_precondition("JOB_EMPTY", "the job has no items")
        if found.work is None:
            found.job.state = pb.JOB_STATE_RUNNING
            found.job.start_time.GetCurrentTime()
            found.work = asyncio.create_task(self._work(found))
        return pb.StartJobResponse(job=found.job)

    async def _work(self, found: FakeJob) -> None:
        for item in found.items.values():
            await asyncio.sleep(self.pace_s)
            async with found.changed:
                self._finish(found, item)
                found.changed.notify_all()
        async with found.changed:
            counts = found.job.counts
            lost = counts.failed + counts.skipped
            found.job.state = pb.JOB_STATE_PARTIALLY_SUCCEEDED if lost else pb.JOB_STATE_SUCCEEDED
            found.job.finish_time.GetCurrentTime()
            found.changed.notify_all()

    def _finish(self, found: FakeJob, item: pb.JobItem) -> None:
        result = pb.ItemResult(item_id=item.item_id, labels=item.labels, attempts=1)
        result.finish_time.GetCurrentTime()
        counts = found.job.counts
        counts.pending -= 1
        if self._fail and self._fail in item.item_id:
            result.state = pb.ITEM_STATE_FAILED
            result.error.reason, result.error.message = "MODEL_REFUSED", "the endpoint refused it"
            counts.failed += 1
        else:
            result.state = pb.ITEM_STATE_SUCCEEDED
            result.piece.CopyFrom(self._piece(item.spec))
            counts.succeeded += 1
            counts.cached += result.piece.cached
            if not result.piece.cached:
                found.job.usage.model_calls += 1
                found.job.usage.prompt_tokens += result.piece.prompt_tokens
                found.job.usage.output_tokens += result.piece.output_tokens
                found.job.usage.cost_micros += result.piece.cost_micros
        found.results.append(result)

    def _piece(self, spec: pb.PieceSpec) -> pb.Piece:
        text = spec.template_id + repr(sorted(spec.variables.items())) + spec.raw.SerializeToString().hex()
        key = hashlib.sha256(text.encode()).hexdigest()
        cached = key in self.seen
        topic = spec.variables.get("topic") or "".join(each.content for each in spec.raw.messages)
        self.seen[key] = topic
        return pb.Piece(
            content=f"# {spec.content_type or spec.template_id} of {topic}\n\nText.",
            content_type=spec.content_type or spec.template_id or "text",
            model=spec.model or "fake-model",
            template_id=spec.template_id,
            template_version=1 if spec.template_id else 0,
            cache_key=key,
            cached=cached,
            prompt_tokens=30,
            output_tokens=20,
            cost_micros=0 if cached else 25,
            quality=0.75,
            similarity=0.93 if spec.cache_policy == pb.CACHE_POLICY_USE_SIMILAR else None,
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """Return a job."""
        return pb.GetJobResponse(job=self.find(request.job_id).job)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """List jobs, two a page."""
        wanted = [each.job for each in reversed(self.jobs.values())]
        jobs = [each for each in wanted if request.state in {pb.JOB_STATE_UNSPECIFIED, each.state}]
        start = int(request.page_token or 0)
        more = str(start + 2) if start + 2 < len(jobs) else ""
        return pb.ListJobsResponse(jobs=jobs[start : start + 2], next_page_token=more)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        """Cancel a job."""
        found = self.find(request.job_id)
        if found.job.state not in FINAL:
            if found.work:
                found.work.cancel()
            async with found.changed:
                found.job.state = pb.JOB_STATE_CANCELLED
                found.job.finish_time.GetCurrentTime()
                found.changed.notify_all()
        return pb.CancelJobResponse(job=found.job)

    async def PauseJob(self, request: pb.PauseJobRequest, context: Any) -> pb.PauseJobResponse:
        """Pause a job between two items."""
        found = self.find(request.job_id)
        if found.work:
            found.work.cancel()
            found.work = None
        found.job.state = pb.JOB_STATE_PAUSED
        found.job.state_reason.reason, found.job.state_reason.message = "PAUSED_BY_REQUEST", "on request"
        return pb.PauseJobResponse(job=found.job)

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Any) -> pb.ResumeJobResponse:
        """Let it go on from its first item without a result."""
        found = self.find(request.job_id)
        done = {each.item_id for each in found.results}
        found.items = {name: each for name, each in found.items.items() if name not in done}
        found.job.state = pb.JOB_STATE_RUNNING
        found.job.ClearField("state_reason")
        found.work = asyncio.create_task(self._work(found))
        return pb.ResumeJobResponse(job=found.job)

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: Any) -> pb.UpdateJobResponse:
        """Note what was asked, and change nothing."""
        self.updates.append(request)
        return pb.UpdateJobResponse(job=self.find(request.job.job_id).job)

    async def RetryFailedItems(
        self, request: pb.RetryFailedItemsRequest, context: Any
    ) -> pb.RetryFailedItemsResponse:
        """Say how many have failed."""
        job = self.find(request.job_id).job
        return pb.RetryFailedItemsResponse(job=job, items=job.counts.failed + job.counts.skipped)

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Any) -> pb.DeleteJobResponse:
        """Forget it."""
        self.find(request.job_id)
        del self.jobs[request.job_id]
        return pb.DeleteJobResponse()

    async def ListResults(self, request: pb.ListResultsRequest, context: Any) -> pb.ListResultsResponse:
        """List results, three a page."""
        results = self.find(request.job_id).results
        start = int(request.page_token or 0)
        more = str(start + 3) if start + 3 < len(results) else ""
        return pb.ListResultsResponse(results=results[start : start + 3], next_page_token=more)

    async def StreamResults(
        self, request: pb.StreamResultsRequest, context: Any
    ) -> AsyncIterator[pb.StreamResultsResponse]:
        """Stream results; the connection is lost after some frames when the test says so."""
        found = self.find(request.job_id)
        self.stream_calls += 1
        sent = int(request.resume_token or 0)
        for frames in range(1_000_000):
            async with found.changed:
                await found.changed.wait_for(
                    lambda: len(found.results) > sent or found.job.state in FINAL  # noqa: B023 - waited for here
                )
                fresh = found.results[sent : sent + 2]
            if not fresh:
                return
            if self._cut_stream_after and frames == self._cut_stream_after:
                raise unavailable("DRAINING", "the server is draining")
            sent += len(fresh)
            yield pb.StreamResultsResponse(results=fresh, resume_token=str(sent))

    async def ListContentVersions(
        self, request: pb.ListContentVersionsRequest, context: Any
    ) -> pb.ListContentVersionsResponse:
        """List what items succeeded with, two a page; remembers what was asked."""
        self.asked_versions.append(request)
        found = [
            pb.ContentVersion(version_id=f"{job_id}.{result.item_id}", item_id=result.item_id, job_id=job_id)
            for job_id, each in self.jobs.items()
            for result in each.results
            if request.item_id in {"", result.item_id}
        ]
        for version in found:
            version.piece.CopyFrom(self._piece(self.jobs[version.job_id].items[version.item_id].spec))
            version.create_time.GetCurrentTime()
        start = int(request.page_token or 0)
        more = str(start + 2) if start + 2 < len(found) else ""
        return pb.ListContentVersionsResponse(versions=found[start : start + 2], next_page_token=more)

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        """Generate one piece."""
        if request.spec.template_id == "nothing":
            raise not_found("TEMPLATE_NOT_FOUND", "there is no template nothing")
        return pb.GenerateResponse(piece=self._piece(request.spec))

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """Generate one piece in words; one that is told to stumble begins anew, one to fall breaks off."""
        piece = self._piece(request.spec)
        yield pb.StreamGenerateResponse(text="void ")
        if "fall" in request.spec.variables.values():
            raise unavailable("MODEL_UNAVAILABLE", "the model is away")
        if "stumble" in request.spec.variables.values():
            yield pb.StreamGenerateResponse(anew=piece.content[:5])
            yield pb.StreamGenerateResponse(text=piece.content[5:])
        piece.content = ""
        piece.model = ",".join(["fake-model", *request.spec.fallback_models])
        yield pb.StreamGenerateResponse(piece=piece)

    async def GetCapacity(self, request: pb.GetCapacityRequest, context: Any) -> pb.GetCapacityResponse:
        """Say how much this could do."""
        answer = pb.GetCapacityResponse(concurrency_limit=8)
        answer.lanes.add(model="wide", limit=8, in_flight=3, explanation="growing since the start")
        answer.lanes.add(
            model="paused", limit=0, waiting=7, explanation="paused by 429s from http://m, 2 s ago"
        )
        answer.breakers.add(name="cache", target="127.0.0.1:1", state=pb.BREAKER_STATE_CLOSED)
        answer.breakers.add(name="optimizer", target="127.0.0.1:2", state=pb.BREAKER_STATE_OPEN)
        return answer


class FakeTracker(_TRACKER):  # type: ignore[misc]  # as said above
    """Tells of a fake processor's jobs."""

    def __init__(self, processor: FakeProcessor, *, cut_events_after: int = 0) -> None:
        self._processor = processor
        self._cut_events_after = cut_events_after
        self.tokens: list[str] = []

    async def WatchProgress(
        self, request: tracker_pb2.WatchProgressRequest, context: Any
    ) -> AsyncIterator[tracker_pb2.WatchProgressResponse]:
        """Stream snapshots or events."""
        found = self._processor.find(request.job_id)
        if request.mode == tracker_pb2.WATCH_MODE_EVENTS:
            async for frame in self._events(found, request.resume_token):
                yield frame
            return
        while True:
            yield tracker_pb2.WatchProgressResponse(snapshots=[_progress(found)])
            if found.job.state in FINAL:
                return
            async with found.changed:
                await found.changed.wait()

    async def _events(self, found: FakeJob, token: str) -> AsyncIterator[tracker_pb2.WatchProgressResponse]:
        self.tokens.append(token)
        sent = int(token or 0)
        for frames in range(1_000_000):
            async with found.changed:
                await found.changed.wait_for(
                    lambda: len(found.results) > sent or found.job.state in FINAL  # noqa: B023 - waited for here
                )
            if self._cut_events_after and frames == self._cut_events_after:
                raise unavailable("DRAINING", "the server is draining")
            if sent == len(found.results):
                done = tracker_pb2.ProgressEvent(sequence=sent + 1)
                done.job.state = tracker_pb2.JOB_STATE_SUCCEEDED
                yield tracker_pb2.WatchProgressResponse(events=[done], resume_token=str(sent + 1))
                return
            sent += 1
            event = tracker_pb2.ProgressEvent(sequence=sent)
            event.item.item_id = found.results[sent - 1].item_id
            event.item.state = tracker_pb2.ITEM_STATE_SUCCEEDED
            yield tracker_pb2.WatchProgressResponse(events=[event], resume_token=str(sent))


def _progress(found: FakeJob) -> tracker_pb2.JobProgress:
    counts, usage = found.job.counts, found.job.usage
    progress = tracker_pb2.JobProgress(
        job_id=found.job.job_id,
        state=found.job.state,  # type: ignore[arg-type]  # the two contracts number states alike
        display_name=found.job.display_name,
        item_count=counts.total,
        totals=tracker_pb2.ProducerTotals(
            succeeded=counts.succeeded,
            failed=counts.failed,
            cached=counts.cached,
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cost_micros=usage.cost_micros,
            model_calls=usage.model_calls,
        ),
    )
    progress.content_types.add(content_type="outline", total=1, finished=1, succeeded=1)
    return progress


class FakeOptimizer(_OPTIMIZER):  # type: ignore[misc]  # as said above
    """Knows the standard templates, and one of its own: `quiz`, which needs a level and no outline."""

    async def GetTemplate(
        self, request: optimizer_pb2.GetTemplateRequest, context: Any
    ) -> optimizer_pb2.GetTemplateResponse:
        """Return a template."""
        if request.template_id.startswith("no_"):
            raise not_found("TEMPLATE_NOT_FOUND", f"there is no template {request.template_id}")
        template = optimizer_pb2.Template(template_id=request.template_id, active_version=1)
        return optimizer_pb2.GetTemplateResponse(template=template)

    async def GetTemplateVersion(
        self, request: optimizer_pb2.GetTemplateVersionRequest, context: Any
    ) -> optimizer_pb2.GetTemplateVersionResponse:
        """Return a version."""
        version = optimizer_pb2.TemplateVersion(template_id=request.template_id, version=1)
        names: tuple[str, ...] = ("topic", "level") if request.template_id == "quiz" else STANDARD_VARIABLES
        if request.template_id == "outline":
            names = STANDARD_VARIABLES[:-1]
        for name in names:
            version.source.variables.add(name=name, required=name in {"topic", "level"})
        return optimizer_pb2.GetTemplateVersionResponse(version=version)
