"""TrackerService: message → domain call → message, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from contentfactory.tracker.v1 import tracker_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2_grpc
from service_common.call import current_call
from service_common.clock import Clock
from service_common.errors import ServiceError

from progress_tracker import convert, metrics, reading
from progress_tracker.ledger import Ledger
from progress_tracker.listing import list_progress
from progress_tracker.reporting import JobReport, record_all
from progress_tracker.repository import Repository
from progress_tracker.resume_token import ResumeTokens
from progress_tracker.sending import send_all
from progress_tracker.watching import EventWatch, Pace, Watching, job_not_found


class TrackerServicer(tracker_pb2_grpc.TrackerServiceServicer):
    """Serves the contract."""

    def __init__(
        self,
        ledger: Ledger,
        repository: Repository,
        *,
        watching: Watching,
        tokens: ResumeTokens,
        clock: Clock,
        write_timeout_s: float,
    ) -> None:
        """Use the domain.

        Args:
            ledger: Takes reports.
            repository: Answers about what is stored.
            watching: Makes streams.
            tokens: Makes resume tokens.
            clock: Dates arrivals.
            write_timeout_s: How long a watcher may leave no room for its next frame.
        """
        self._ledger = ledger
        self._repository = repository
        self._watching = watching
        self._tokens = tokens
        self._clock = clock
        self._write_timeout_s = write_timeout_s

    async def BatchReportProgress(
        self,
        request: pb.BatchReportProgressRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.BatchReportProgressResponse:
        """Take reports; answers when they are durable."""
        reading.check_reports(request)
        arrival = self._clock.now()
        reports: list[JobReport | ServiceError] = []
        for index, each in enumerate(request.reports):
            try:
                reports.append((each.job_id, reading.read_report(f"reports[{index}]", each, arrival=arrival)))
            except ServiceError as error:
                reports.append(error)
        return convert.report_response(await record_all(self._ledger, _tenant(), reports))

    async def GetProgress(
        self,
        request: pb.GetProgressRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.GetProgressResponse:
        """Return a job's snapshot."""
        job_id = reading.read_job_id(request.job_id)
        progress = await self._repository.progress(_tenant(), job_id)
        if progress is None:
            raise job_not_found(job_id)
        token = self._tokens.make(_tenant(), job_id, log_id=progress.log_id, sequence=progress.last_sequence)
        return pb.GetProgressResponse(progress=convert.job_progress(progress), resume_token=token)

    async def ListProgress(
        self,
        request: pb.ListProgressRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.ListProgressResponse:
        """Return a page of snapshots."""
        listing = await list_progress(
            self._repository,
            _tenant(),
            wanted=reading.read_filter(request.filter),
            page_size=request.page_size,
            page_token=request.page_token,
            encode=lambda progress: convert.job_progress(progress).SerializeToString(),
        )
        return pb.ListProgressResponse(
            progress=[pb.JobProgress.FromString(each) for each in listing.progress],
            next_page_token=listing.next_page_token,
        )

    async def WatchProgress(  # type: ignore[override]  # the stubs know only the synchronous form
        self,
        request: pb.WatchProgressRequest,
        context: Any,
    ) -> AsyncGenerator[bytes, None]:
        """Stream events or snapshots, as frames already serialised; yields none, but writes them."""
        tenant = _tenant()
        asked = reading.read_watch(request, tenant)
        if isinstance(asked, EventWatch):
            mode, frames = "events", self._watching.events(asked)
        else:
            mode, frames = "snapshots", self._snapshots(request, tenant, asked)
        with metrics.watching(mode):
            await send_all(frames, context.write, timeout_s=self._write_timeout_s)
        return
        yield  # makes this the generator the call layer takes; it writes by itself so that writes are timed

    def _snapshots(
        self, request: pb.WatchProgressRequest, tenant: str, pace: Pace
    ) -> AsyncGenerator[bytes, None]:
        if request.WhichOneof("target") == "job_id":
            return self._watching.snapshots_of_job(tenant, request.job_id, pace)
        return self._watching.snapshots_of_jobs(tenant, reading.read_filter(request.filter), pace)


def _tenant() -> str:
    return current_call().principal.tenant
