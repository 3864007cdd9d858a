"""The prompt optimizer as a neighbour: specs become its requests, its answers become prompts and scores.

Hot requests are made of fields, not of messages: see `Fields`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

from contentfactory.optimizer.v1 import optimizer_pb2, optimizer_pb2_grpc
from service_common.errors import FieldViolation, ServiceError
from service_common.output_contract import OutputContract
from service_common.rpc.client import ClientPool
from service_common.rpc.fields import Fields
from service_common.rpc.status import from_status
from service_common.rpc.times import duration_fields

from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.jobs.template import (
    DEFAULT_MAX_VARIABLE_BYTES,
    TemplateVariable,
    TemplateVersion,
)
from parallel_processor.neighbours.acting import Acting
from parallel_processor.output.messages import contract_of_message
from parallel_processor.running.ports import OutcomeReport, Owner, Prompt
from parallel_processor.running.versions import VersionsChanged

Pool: TypeAlias = "ClientPool[optimizer_pb2_grpc.OptimizerServiceAsyncStub]"
_OPTIMIZE_TIMEOUT_S = 5.0

_ROLE_NAMES = {
    optimizer_pb2.ChatMessage.ROLE_SYSTEM: "system",
    optimizer_pb2.ChatMessage.ROLE_USER: "user",
    optimizer_pb2.ChatMessage.ROLE_ASSISTANT: "assistant",
}
_ROLES = {name: role for role, name in _ROLE_NAMES.items()}


class OptimizerNeighbour:
    """Calls the optimizer; see `OptimizerPort`."""

    def __init__(self, pool: Pool, acting: Acting) -> None:
        self._pool = pool
        self._acting = acting

    async def optimize(self, owner: Owner, specs: Sequence[PieceSpec]) -> list[Prompt | Exception]:
        """Return one prompt per spec, or why there is none."""
        fields: Fields = {"requests": [_request(spec) for spec in specs]}
        response = await self._pool.call(
            lambda stub: stub.BatchOptimize,
            optimizer_pb2.BatchOptimizeRequest(**fields),
            timeout_s=_OPTIMIZE_TIMEOUT_S,
            act_as=self._acting.as_owner(owner),
            idempotent=True,
        )
        return [
            _refusal(from_status(each.error), index) if each.HasField("error") else _prompt(each.value)
            for index, each in enumerate(response.results)
        ]

    async def record(
        self, owner: Owner, batch_id: str, reports: Sequence[OutcomeReport], *, attempt: int, timeout_s: float
    ) -> list[float | None]:
        """Report outcomes and return their quality scores."""
        fields: Fields = {"outcomes": [_outcome(each) for each in reports]}
        request = optimizer_pb2.BatchRecordOutcomesRequest(
            batch_id=batch_id, attempt=attempt - 1, overall_only=True, **fields
        )

        def each_sending(stub: optimizer_pb2_grpc.OptimizerServiceAsyncStub) -> Any:
            request.attempt += 1  # the pool asks for the method each time it sends, also when it repeats
            return stub.BatchRecordOutcomes

        response = await self._pool.call(
            each_sending,
            request,
            timeout_s=timeout_s,
            act_as=self._acting.as_owner(owner),
            idempotent=True,
        )
        return [each.value.overall if each.HasField("value") else None for each in response.results]

    async def watch_active_versions(self, *, all_tenants: bool) -> AsyncIterator[VersionsChanged]:
        """Yield the active versions, then every change, until the stream breaks."""
        stream = self._pool.stream(
            lambda stub: stub.WatchActiveVersions,
            optimizer_pb2.WatchActiveVersionsRequest(all_tenants=all_tenants),
        )
        async with aclosing(stream) as frames:
            async for frame in frames:
                yield VersionsChanged(
                    active=tuple(_version(each) for each in frame.active_versions),
                    deleted=tuple((each.tenant, each.template_id) for each in frame.deleted_templates),
                    synchronized=frame.synchronized,
                )


def _request(spec: PieceSpec) -> Fields:
    fields: Fields = {
        "content_type": spec.content_type,
        "model": spec.model,
        "max_tokens": spec.max_tokens,
    }
    if spec.raw is not None:
        messages = [{"role": _ROLES[role], "content": content} for role, content in spec.raw.messages]
        fields["raw"] = {"messages": messages, "sampling": _sampling_fields(spec.raw.sampling)}
    else:
        fields["template_id"] = spec.template_id or ""
        fields["version"] = spec.template_version
        fields["variables"] = spec.variables
    return fields


def _refusal(error: ServiceError, index: int) -> ServiceError:
    """Return the error of one request of a batch, its fields named as those of the spec it was made of."""

    def ours(text: str) -> str:
        return text.replace(f"requests[{index}].", "spec.")

    return ServiceError(
        error.kind,
        error.reason,
        ours(error.message),
        violations=[FieldViolation(ours(each.field), each.description) for each in error.violations],
        metadata=error.metadata,
        retry_after=error.retry_after,
    )


def _sampling_fields(sampling: Sampling) -> Fields:
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": sampling.stop,
    }


def _prompt(message: optimizer_pb2.OptimizeResponse) -> Prompt:
    return Prompt(
        messages=tuple((_ROLE_NAMES[each.role], each.content) for each in message.messages),
        sampling=_sampling(message.sampling),
        model=message.model,
        template_id=message.template_id,
        template_version=message.version,
        content_type=message.content_type,
        decision_id=message.decision_id,
        output_contract=_contract(message),
        handlers=tuple(message.handlers),
    )


def _contract(
    message: optimizer_pb2.OptimizeResponse | optimizer_pb2.TemplateSource,
) -> OutputContract | None:
    return contract_of_message(message.output_contract) if message.HasField("output_contract") else None


def _sampling(message: optimizer_pb2.SamplingParameters) -> Sampling:
    return Sampling(
        max_tokens=message.max_tokens,
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )


def _outcome(report: OutcomeReport) -> Fields:
    status = optimizer_pb2.Outcome.STATUS_FAILED
    if report.succeeded:
        status = optimizer_pb2.Outcome.STATUS_SUCCEEDED
        if report.truncated:
            status = optimizer_pb2.Outcome.STATUS_TRUNCATED
    return {
        "decision_id": report.decision_id,
        "status": status,
        "output": report.output,
        "subjects": report.subjects,
        "prompt_tokens": report.prompt_tokens,
        "output_tokens": report.output_tokens,
        "cost_micros": report.cost_micros,
        "latency": duration_fields(report.latency_s),
    }


def _version(message: optimizer_pb2.WatchActiveVersionsResponse.ActiveVersion) -> TemplateVersion:
    version = message.version
    return TemplateVersion(
        tenant=message.tenant,
        template_id=version.template_id,
        version=version.version,
        content_type=version.content_type,
        messages=tuple((_ROLE_NAMES[each.role], each.content) for each in version.source.messages),
        variables=tuple(
            TemplateVariable(
                each.name, each.required, each.default_value, each.max_bytes or DEFAULT_MAX_VARIABLE_BYTES
            )
            for each in version.source.variables
        ),
        sampling=_sampling(version.source.sampling),
        model=version.source.model,
        output_contract=_contract(version.source),
        handlers=tuple(version.source.handlers),
    )
