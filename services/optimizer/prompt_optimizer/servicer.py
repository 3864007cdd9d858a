"""OptimizerService: each RPC reads its message, calls the domain and writes the answer."""

# ruff: noqa: ARG002 - every handler is given a context, and none needs it
from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from service_common.call import ROLE_ACT_AS, current_call
from service_common.errors import ErrorKind, ServiceError

from prompt_optimizer import convert, paging, requests, validation
from prompt_optimizer.batches import BatchBudget
from prompt_optimizer.decisions.optimizer import Optimizer
from prompt_optimizer.outcomes.experience import CurrentStatistics
from prompt_optimizer.outcomes.listing import Listing
from prompt_optimizer.outcomes.recorder import Recorder
from prompt_optimizer.templates.library import Library
from prompt_optimizer.templates.source import TemplateVersion
from prompt_optimizer.templates.watching import Watching


class OptimizerServicer(optimizer_pb2_grpc.OptimizerServiceServicer):
    """Serves the contract; raises ServiceError, which the call layer turns into a status."""

    def __init__(
        self,
        *,
        library: Library,
        optimizer: Optimizer,
        recorder: Recorder,
        statistics: CurrentStatistics,
        listing: Listing,
        watching: Watching,
        open_access: bool,
        max_message_bytes: int,
    ) -> None:
        """Make the servicer.

        Args:
            library: Templates and versions.
            optimizer: Makes prompts.
            recorder: Takes outcomes.
            statistics: What came of versions.
            listing: What came of single decisions.
            watching: Tells of active versions.
            open_access: Whether callers have no credentials, so that no role can be asked for.
            max_message_bytes: The largest response that can be sent.
        """
        self._library = library
        self._optimizer = optimizer
        self._recorder = recorder
        self._statistics = statistics
        self._listing = listing
        self._watching = watching
        self._open_access = open_access
        self._max_message_bytes = max_message_bytes

    async def CreateTemplate(
        self, request: pb.CreateTemplateRequest, context: Any
    ) -> pb.CreateTemplateResponse:
        """Create a template with its first version."""
        caller = current_call().principal
        wanted = requests.first_version_from(request)
        change = await self._library.create(
            caller.tenant,
            caller.user,
            wanted=wanted,
            display_name=request.display_name or request.template_id,
            request=requests.request_id_from("CreateTemplate", request, request.request_id),
        )
        return pb.CreateTemplateResponse(
            template=convert.template_to(change.template), version=convert.version_to(change.versions[-1])
        )

    async def GetTemplate(self, request: pb.GetTemplateRequest, context: Any) -> pb.GetTemplateResponse:
        """Return a template."""
        requests.check_template_id(request.template_id)
        template = await self._library.template(current_call().principal.tenant, request.template_id)
        return pb.GetTemplateResponse(template=convert.template_to(template))

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Any) -> pb.ListTemplatesResponse:
        """List the templates the tenant can use."""
        size = validation.page_size(request.page_size)
        after = paging.after_template(request.page_token)
        templates, more = await self._library.templates_after(current_call().principal.tenant, after, size)
        return pb.ListTemplatesResponse(
            templates=map(convert.template_to, templates),
            next_page_token=paging.token_of(templates[-1].template_id) if more else "",
        )

    async def DeleteTemplate(
        self, request: pb.DeleteTemplateRequest, context: Any
    ) -> pb.DeleteTemplateResponse:
        """Delete a template of the tenant's own."""
        requests.check_template_id(request.template_id)
        await self._library.delete(current_call().principal.tenant, request.template_id)
        return pb.DeleteTemplateResponse()

    async def CreateTemplateVersion(
        self, request: pb.CreateTemplateVersionRequest, context: Any
    ) -> pb.CreateTemplateVersionResponse:
        """Add a version to a template."""
        caller = current_call().principal
        requests.check_template_id(request.template_id)
        version = await self._library.add_version(
            caller.tenant,
            caller.user,
            template_id=request.template_id,
            source=requests.source_from("source", request.source),
            description=requests.description_from(request.description),
            request=requests.request_id_from("CreateTemplateVersion", request, request.request_id),
        )
        return pb.CreateTemplateVersionResponse(version=convert.version_to(version))

    async def GetTemplateVersion(
        self, request: pb.GetTemplateVersionRequest, context: Any
    ) -> pb.GetTemplateVersionResponse:
        """Return a version and what came of it."""
        tenant = current_call().principal.tenant
        requests.check_template_id(request.template_id)
        validation.check(validation.number("version", request.version, least=0, most=2**31 - 1))
        key, version = await self._library.version(tenant, request.template_id, request.version)
        statistics = (await self._statistics.get(tenant, [key]))[0]
        return pb.GetTemplateVersionResponse(
            version=convert.version_to(version), statistics=convert.statistics_to(statistics)
        )

    async def ListTemplateVersions(
        self, request: pb.ListTemplateVersionsRequest, context: Any
    ) -> pb.ListTemplateVersionsResponse:
        """List the versions of a template."""
        requests.check_template_id(request.template_id)
        size = validation.page_size(request.page_size)
        below = paging.below_version(request.page_token)
        versions, more = await self._library.versions_below(
            current_call().principal.tenant, request.template_id, below=below, limit=size
        )
        return self._version_page(versions, more=more)

    def _version_page(
        self, versions: list[TemplateVersion], *, more: bool
    ) -> pb.ListTemplateVersionsResponse:
        budget = BatchBudget(self._max_message_bytes)
        written: list[pb.TemplateVersion] = []
        for each in map(convert.version_to, versions):
            if written and not budget.take(each.ByteSize()):
                more = True
                break
            written.append(each)
        token = paging.token_of(str(written[-1].version)) if more else ""
        return pb.ListTemplateVersionsResponse(versions=written, next_page_token=token)

    async def ActivateVersion(
        self, request: pb.ActivateVersionRequest, context: Any
    ) -> pb.ActivateVersionResponse:
        """Make a version the active one."""
        caller = current_call().principal
        requests.check_template_id(request.template_id)
        validation.check(validation.number("version", request.version, least=1, most=2**31 - 1))
        template = await self._library.activate(
            caller.tenant, caller.user, template_id=request.template_id, version=request.version
        )
        return pb.ActivateVersionResponse(template=convert.template_to(template))

    async def RollbackTemplate(
        self, request: pb.RollbackTemplateRequest, context: Any
    ) -> pb.RollbackTemplateResponse:
        """Make the version active again that was before."""
        caller = current_call().principal
        requests.check_template_id(request.template_id)
        template = await self._library.roll_back(caller.tenant, caller.user, template_id=request.template_id)
        return pb.RollbackTemplateResponse(template=convert.template_to(template))

    async def WatchActiveVersions(
        self, request: pb.WatchActiveVersionsRequest, context: Any
    ) -> AsyncGenerator[pb.WatchActiveVersionsResponse, None]:
        """Send active versions, then changes."""
        caller = current_call().principal
        if request.all_tenants and not self._open_access and ROLE_ACT_AS not in caller.roles:
            raise ServiceError(
                ErrorKind.PERMISSION_DENIED, "ROLE_REQUIRED", f"all_tenants needs the role {ROLE_ACT_AS}"
            )
        async with aclosing(self._watching.watch(None if request.all_tenants else caller.tenant)) as news:
            async for each in news:
                yield convert.active_versions_to(each)

    async def Optimize(self, request: pb.OptimizeRequest, context: Any) -> pb.OptimizeResponse:
        """Make one prompt."""
        tenant = current_call().principal.tenant
        (result,) = await self._optimizer.optimize(tenant, [requests.prompt_request_from(request)])
        if isinstance(result, ServiceError):
            raise result
        return convert.prompt_to(result)

    async def BatchOptimize(self, request: pb.BatchOptimizeRequest, context: Any) -> pb.BatchOptimizeResponse:
        """Make many prompts."""
        wanted = requests.each_from("requests", request.requests, requests.prompt_request_from)
        results = await self._optimizer.optimize(current_call().principal.tenant, wanted)
        budget, response = BatchBudget(self._max_message_bytes), pb.BatchOptimizeResponse()
        for index, each in enumerate(results):
            result = requests.placed_result(each, "requests", index)
            budget.fit(response.results.add(**convert.prompt_result_fields(result)))
        return response

    async def BatchRecordOutcomes(
        self, request: pb.BatchRecordOutcomesRequest, context: Any
    ) -> pb.BatchRecordOutcomesResponse:
        """Score outcomes and count them once."""
        validation.check(validation.text("batch_id", request.batch_id, least=1, most=128))
        outcomes = requests.each_from("outcomes", request.outcomes, requests.outcome_from)
        requests.check_attempt(request.attempt)
        results = await self._recorder.record(
            current_call().principal.tenant, request.batch_id, outcomes, first=request.attempt == 1
        )
        response = pb.BatchRecordOutcomesResponse()
        for index, each in enumerate(results):
            result = requests.placed_result(each, "outcomes", index)
            response.results.add(**convert.score_result_fields(result, overall_only=request.overall_only))
        return response

    async def ListQualityRecords(
        self, request: pb.ListQualityRecordsRequest, context: Any
    ) -> pb.ListQualityRecordsResponse:
        """List what came of single decisions."""
        tenant = current_call().principal.tenant
        requests.check_record_filters(request)
        size = validation.page_size(request.page_size)
        version = None
        if request.template_id:
            version, _ = await self._library.version(tenant, request.template_id, request.version)
        query = requests.record_query_from(request, version)
        after = paging.after_record(request.page_token, query)
        found, on = await self._listing.find(tenant, query, after=after, limit=size)
        budget = BatchBudget(self._max_message_bytes)
        written: list[pb.QualityRecord] = []
        for each in found:
            message = convert.record_to(each.record)
            if not budget.take(message.ByteSize()):
                on = found[len(written) - 1].behind
                break
            written.append(message)
        token = paging.token_of(paging.record_position(on, query)) if on else ""
        return pb.ListQualityRecordsResponse(records=written, next_page_token=token)
