"""ProcessorService: message → domain call → message, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.processor.v1 import processor_pb2_grpc
from service_common.call import Principal, current_call
from service_common.errors import ServiceError
from service_common.telemetry.tracing import current_traceparent

from parallel_processor import capacity_message, convert, validation
from parallel_processor.capacity import Capacity
from parallel_processor.estimator import Estimator
from parallel_processor.intake import REFUSED_ITEM, Intake
from parallel_processor.interactive import Interactive
from parallel_processor.jobs.item import ItemCounts
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import CachePolicy, Usage
from parallel_processor.lifetime import Lifetime
from parallel_processor.repository import JobRepository
from parallel_processor.results import Results
from parallel_processor.running.ports import Owner
from parallel_processor.tenant_budgets import TenantBudgets
from parallel_processor.version_listing import ContentVersions


class ProcessorServicer(processor_pb2_grpc.ProcessorServiceServicer):
    """Serves the contract."""

    def __init__(
        self,
        *,
        intake: Intake,
        lifetime: Lifetime,
        jobs: JobRepository,
        results: Results,
        versions: ContentVersions,
        interactive: Interactive,
        estimator: Estimator,
        budgets: TenantBudgets,
        capacity: Capacity,
        handlers: frozenset[str],
    ) -> None:
        """Use the domain.

        Args:
            intake: Takes jobs in.
            lifetime: Changes jobs that are under way.
            jobs: Where jobs are.
            results: Reads items and results.
            versions: Reads content versions.
            interactive: Generates single pieces.
            estimator: Says what jobs will cost.
            budgets: Reads and sets tenants' budgets.
            capacity: Knows how this replica stands.
            handlers: The names of the handlers there are.
        """
        self._intake = intake
        self._lifetime = lifetime
        self._jobs = jobs
        self._results = results
        self._versions = versions
        self._interactive = interactive
        self._estimator = estimator
        self._budgets = budgets
        self._capacity = capacity
        self._handlers = handlers

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Create an empty job."""
        validation.check_create_job(request)
        who = _principal()
        job = self._intake.new_job(
            tenant=who.tenant,
            user=who.user,
            display_name=request.display_name,
            priority=convert.priority(request.priority),
            labels=dict(request.labels),
            model=request.model,
            cache_policy=convert.cache_policy(request.cache_policy) or CachePolicy.USE,
            terms=convert.terms(request.terms),
        )
        body = request.SerializeToString(deterministic=True)
        job = await self._intake.create(job, request_id=request.request_id, body=body)
        return pb.CreateJobResponse(job=await self._message(job))

    async def BatchAddItems(
        self,
        request: pb.BatchAddItemsRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.BatchAddItemsResponse:
        """Add items to a draft job."""
        validation.check_add_items(request)
        refused: dict[int, ServiceError] = {}
        for number, item in enumerate(request.items):
            try:
                validation.check_item(f"items[{number}]", item, handlers=self._handlers)
            except ServiceError as error:
                refused[number] = error
        items = [
            REFUSED_ITEM if number in refused else convert.item(item)
            for number, item in enumerate(request.items)
        ]
        added = await self._intake.add_items(_principal().tenant, request.job_id, items, refused)
        return convert.add_items_response(added)

    async def StartJob(self, request: pb.StartJobRequest, context: Any) -> pb.StartJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Start a job."""
        validation.check_job_id(request.job_id)
        job = await self._intake.start(_principal().tenant, request.job_id, traceparent=current_traceparent())
        return pb.StartJobResponse(job=await self._message(job))

    async def EstimateJob(self, request: pb.EstimateJobRequest, context: Any) -> pb.EstimateJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Say what a job will cost and take."""
        validation.check_job_id(request.job_id)
        at_once = self._capacity.read().limit
        estimate = await self._estimator.estimate(_principal().tenant, request.job_id, at_once=at_once)
        return pb.EstimateJobResponse(estimate=convert.job_estimate(estimate))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Return a job with its counts."""
        return pb.GetJobResponse(job=await self._message(await self._job(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:  # noqa: ARG002 - the signature is gRPC's
        """List the tenant's jobs."""
        found = validation.Violations()
        found.member("state", request.state, pb.JobState)
        found.raise_if_any()
        jobs, cursor = await self._jobs.list_page(
            _principal().tenant,
            convert.job_state(request.state),
            limit=validation.page_size(request.page_size),
            cursor=request.page_token or None,
        )
        return pb.ListJobsResponse(
            jobs=[await self._message(job) for job in jobs], next_page_token=cursor or ""
        )

    async def ListItems(self, request: pb.ListItemsRequest, context: Any) -> pb.ListItemsResponse:  # noqa: ARG002 - the signature is gRPC's
        """List a job's items with their states."""
        found = validation.Violations()
        found.member("state", request.state, pb.ItemState)
        found.raise_if_any()
        limit = validation.page_size(request.page_size)
        items, token = await self._results.list_items(
            await self._job(request.job_id),
            convert.item_state(request.state),
            limit=limit,
            page_token=request.page_token,
        )
        return pb.ListItemsResponse(items=map(convert.item_status, items), next_page_token=token)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Stop a job."""
        validation.check_job_id(request.job_id)
        job = await self._lifetime.cancel(_principal().tenant, request.job_id)
        return pb.CancelJobResponse(job=await self._message(job))

    async def PauseJob(self, request: pb.PauseJobRequest, context: Any) -> pb.PauseJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Let a job begin nothing new."""
        validation.check_job_id(request.job_id)
        job = await self._lifetime.pause(_principal().tenant, request.job_id)
        return pb.PauseJobResponse(job=await self._message(job))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Any) -> pb.ResumeJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Let a paused job go on."""
        validation.check_job_id(request.job_id)
        job = await self._lifetime.resume(_principal().tenant, request.job_id)
        return pb.ResumeJobResponse(job=await self._message(job))

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: Any) -> pb.UpdateJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Change fields of a job."""
        validation.check_update_job(request)
        fields, terms = convert.job_changes(request.job, request.update_mask.paths)
        job = await self._lifetime.update(_principal().tenant, request.job.job_id, fields=fields, terms=terms)
        return pb.UpdateJobResponse(job=await self._message(job))

    async def RetryFailedItems(
        self,
        request: pb.RetryFailedItemsRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.RetryFailedItemsResponse:
        """Let items without content be worked on again."""
        validation.check_job_id(request.job_id)
        job, items = await self._lifetime.retry_failed(_principal().tenant, request.job_id)
        return pb.RetryFailedItemsResponse(job=await self._message(job), items=items)

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Any) -> pb.DeleteJobResponse:  # noqa: ARG002 - the signature is gRPC's
        """Remove a job."""
        validation.check_job_id(request.job_id)
        await self._lifetime.delete(_principal().tenant, request.job_id)
        return pb.DeleteJobResponse()

    async def ListResults(self, request: pb.ListResultsRequest, context: Any) -> pb.ListResultsResponse:  # noqa: ARG002 - the signature is gRPC's
        """List results of finished items."""
        limit = validation.page_size(request.page_size)
        job = await self._job(request.job_id)
        outcomes, token = await self._results.list_results(job, limit=limit, page_token=request.page_token)
        return pb.ListResultsResponse(results=map(convert.item_result, outcomes), next_page_token=token)

    async def StreamResults(
        self,
        request: pb.StreamResultsRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> AsyncGenerator[pb.StreamResultsResponse, None]:
        """Stream each result once, as items finish."""
        validation.check_job_id(request.job_id)
        stream = self._results.stream(_principal().tenant, request.job_id, request.resume_token)
        async with aclosing(stream) as frames:
            async for outcomes, token in frames:
                yield pb.StreamResultsResponse(results=map(convert.item_result, outcomes), resume_token=token)

    async def ListContentVersions(
        self,
        request: pb.ListContentVersionsRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.ListContentVersionsResponse:
        """List content versions."""
        validation.check_list_content_versions(request)
        versions, token = await self._versions.list_page(
            _principal().tenant,
            convert.question(request),
            limit=validation.page_size(request.page_size),
            page_token=request.page_token,
            with_content=request.with_content,
        )
        return pb.ListContentVersionsResponse(
            versions=[convert.content_version(each, with_content=request.with_content) for each in versions],
            next_page_token=token,
        )

    async def GetContentVersion(
        self,
        request: pb.GetContentVersionRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.GetContentVersionResponse:
        """Return a content version with its content."""
        validation.check_version_id(request.version_id)
        version = await self._versions.get(_principal().tenant, request.version_id)
        return pb.GetContentVersionResponse(version=convert.content_version(version, with_content=True))

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:  # noqa: ARG002 - the signature is gRPC's
        """Generate one piece now."""
        validation.check_generate(request, handlers=self._handlers)
        who = _principal()
        piece = await self._interactive.generate(
            Owner(who.tenant, who.user),
            convert.spec(request.spec),
            request_id=request.request_id,
            body=request.SerializeToString(deterministic=True),
            max_cost_micros=request.max_cost_micros,
        )
        return pb.GenerateResponse(piece=convert.piece(piece))

    async def StreamGenerate(
        self,
        request: pb.StreamGenerateRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> AsyncGenerator[pb.StreamGenerateResponse, None]:
        """Generate one piece now and send its text as it is written."""
        validation.check_generate(request, handlers=self._handlers)
        who = _principal()
        stream = self._interactive.stream(
            Owner(who.tenant, who.user),
            convert.spec(request.spec),
            request_id=request.request_id,
            body=request.SerializeToString(deterministic=True),
            max_cost_micros=request.max_cost_micros,
        )
        async with aclosing(stream) as frames:
            async for frame in frames:
                yield convert.generated_frame(frame)

    async def GetTenantBudget(
        self,
        request: pb.GetTenantBudgetRequest,  # noqa: ARG002 - the signature is gRPC's
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.GetTenantBudgetResponse:
        """Return the tenant's budget."""
        reading = await self._budgets.read(_principal().tenant)
        return pb.GetTenantBudgetResponse(budget=convert.tenant_budget(reading))

    async def SetTenantBudget(
        self,
        request: pb.SetTenantBudgetRequest,
        context: Any,  # noqa: ARG002 - the signature is gRPC's
    ) -> pb.SetTenantBudgetResponse:
        """Set the tenant's budget."""
        validation.check_set_tenant_budget(request)
        reading = await self._budgets.set(
            _principal().tenant,
            request.max_cost_micros if request.HasField("max_cost_micros") else None,
            start_over=request.start_over,
        )
        return pb.SetTenantBudgetResponse(budget=convert.tenant_budget(reading))

    async def GetCapacity(self, request: pb.GetCapacityRequest, context: Any) -> pb.GetCapacityResponse:  # noqa: ARG002 - the signature is gRPC's
        """Say how this replica stands."""
        return capacity_message.capacity(self._capacity.read())

    async def _job(self, job_id: str) -> Job:
        validation.check_job_id(job_id)
        return await self._jobs.get(_principal().tenant, job_id)

    async def _message(self, job: Job) -> pb.Job:
        counts, usage, reserved = ItemCounts(), Usage(), 0
        if job.shard_count and job.finish_time is None:
            job, counts, usage, reserved = await self._jobs.live(job)
        return convert.job_message(job, job.counts + counts, job.usage + usage, reserved=reserved)


def _principal() -> Principal:
    return current_call().principal
