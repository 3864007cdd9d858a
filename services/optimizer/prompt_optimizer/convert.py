"""Answers written: domain values to messages of the contract.

What is written thousands of times a second is written as fields (see `Fields`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from service_common.errors import ServiceError
from service_common.output_contract import Bounds, OutputContract
from service_common.rpc.fields import Fields
from service_common.rpc.status import to_status
from service_common.rpc.times import duration

from prompt_optimizer.decisions.optimizer import Prompt
from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.record import QualityRecord
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.quality import QualityScore
from prompt_optimizer.templates.source import Message, Role, Sampling, TemplateSource, TemplateVersion
from prompt_optimizer.templates.template import Template
from prompt_optimizer.templates.watching import ActiveVersions

_ROLE_NUMBERS = {
    Role.SYSTEM: pb.ChatMessage.ROLE_SYSTEM,
    Role.USER: pb.ChatMessage.ROLE_USER,
    Role.ASSISTANT: pb.ChatMessage.ROLE_ASSISTANT,
}
_STATUS_NUMBERS = {
    Status.SUCCEEDED: pb.Outcome.STATUS_SUCCEEDED,
    Status.TRUNCATED: pb.Outcome.STATUS_TRUNCATED,
    Status.FILTERED: pb.Outcome.STATUS_FILTERED,
    Status.FAILED: pb.Outcome.STATUS_FAILED,
}


def template_to(template: Template) -> pb.Template:
    """Write a template."""
    return pb.Template(
        template_id=template.template_id,
        content_type=template.content_type,
        display_name=template.display_name,
        active_version=template.active_version,
        latest_version=template.latest_version,
        built_in=template.built_in,
        create_time=_timestamp(template.create_time),
        update_time=_timestamp(template.update_time),
        activations=[
            pb.Template.Activation(version=each.version, activate_time=_timestamp(each.time), user=each.user)
            for each in template.activations
        ],
    )


def version_to(version: TemplateVersion) -> pb.TemplateVersion:
    """Write a version."""
    return pb.TemplateVersion(
        template_id=version.template_id,
        version=version.version,
        source=_source_to(version.source),
        description=version.description,
        create_time=_timestamp(version.create_time),
        create_user=version.create_user,
        content_type=version.content_type,
    )


def _source_to(source: TemplateSource) -> pb.TemplateSource:
    return pb.TemplateSource(
        messages=_messages_to(source.messages),
        variables=[
            pb.TemplateSource.Variable(
                name=each.name,
                description=each.description,
                required=each.required,
                default_value=each.default,
                max_bytes=each.max_bytes,
            )
            for each in source.variables
        ],
        sampling=_sampling_to(source.sampling),
        model=source.model,
        output_contract=_contract_to(source.output_contract),
        handlers=source.handlers,
    )


def _contract_to(contract: OutputContract | None) -> pb.OutputContract | None:
    if contract is None:
        return None
    message = pb.OutputContract(
        characters=_bounds_to(contract.characters),
        words=_bounds_to(contract.words),
        items=_bounds_to(contract.items),
    )
    if contract.json_schema is not None:
        message.json.schema = contract.json_schema
    elif contract.markdown:
        message.markdown.SetInParent()
        message.markdown.MergeFrom(
            pb.OutputContract.MarkdownForm(headings=contract.headings, sections=_bounds_to(contract.sections))
        )
    return message


def _bounds_to(bounds: Bounds) -> pb.OutputContract.Bounds | None:
    return pb.OutputContract.Bounds(min=bounds.min, max=bounds.max) if bounds else None


def _messages_to(messages: Sequence[Message]) -> list[Any]:
    return [{"role": _ROLE_NUMBERS[each.role], "content": each.content} for each in messages]


def _sampling_to(sampling: Sampling) -> Any:
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": sampling.stop,
    }


def prompt_to(prompt: Prompt) -> pb.OptimizeResponse:
    """Write a prompt."""
    return pb.OptimizeResponse(**_prompt_fields(prompt))


def _prompt_fields(prompt: Prompt) -> Fields:
    return {
        "decision_id": prompt.decision_id,
        "messages": _messages_to(prompt.messages),
        "sampling": _sampling_to(prompt.sampling),
        "model": prompt.model,
        "template_id": prompt.decision.family.template_id,
        "version": prompt.decision.version,
        "content_type": prompt.decision.content_type,
        "estimated_prompt_tokens": prompt.estimated_prompt_tokens,
        "estimated_output_tokens": prompt.estimated_output_tokens,
        "output_contract": _contract_to(prompt.output_contract),
        "handlers": prompt.handlers,
    }


def active_versions_to(news: ActiveVersions) -> pb.WatchActiveVersionsResponse:
    """Write what a watcher is told."""
    return pb.WatchActiveVersionsResponse(
        active_versions=[
            pb.WatchActiveVersionsResponse.ActiveVersion(tenant=tenant, version=version_to(version))
            for tenant, version in news.active
        ],
        deleted_templates=[
            pb.WatchActiveVersionsResponse.DeletedTemplate(tenant=tenant, template_id=template_id)
            for tenant, template_id in news.deleted
        ],
        synchronized=news.synchronized,
    )


def prompt_result_fields(result: Prompt | ServiceError) -> Fields:
    """Write one result of BatchOptimize, as fields."""
    if isinstance(result, ServiceError):
        return {"error": to_status(result)}
    return {"value": _prompt_fields(result)}


def score_result_fields(result: QualityScore | ServiceError, *, overall_only: bool) -> Fields:
    """Write one result of BatchRecordOutcomes, as fields; the score with its components or without."""
    if isinstance(result, ServiceError):
        return {"error": to_status(result)}
    if overall_only:
        return {"value": {"overall": result.overall}} if result.components else {}
    components = [
        {"name": each.name, "score": each.score, "weight": each.weight, "explanation": each.explanation}
        for each in result.components
    ]
    return {"value": {"overall": result.overall, "components": components}}


def statistics_to(statistics: Statistics) -> pb.VersionStatistics:
    """Write what came of a version."""
    return pb.VersionStatistics(
        outcomes=statistics.outcomes,
        successes=statistics.successes,
        scored=statistics.scored,
        mean_score=statistics.mean_score,
        prompt_tokens=statistics.prompt_tokens,
        output_tokens=statistics.output_tokens,
        cost_micros=statistics.cost_micros,
    )


def record_to(record: QualityRecord) -> pb.QualityRecord:
    """Write a quality record."""
    return pb.QualityRecord(
        template_id=record.version.family.template_id,
        version=record.version.version,
        content_type=record.content_type,
        status=_STATUS_NUMBERS[record.status],
        score=record.score,
        aspects=[pb.QualityRecord.Aspect(name=name, score=score) for name, score in record.aspects],
        prompt_tokens=record.prompt_tokens,
        output_tokens=record.output_tokens,
        cost_micros=record.cost_micros,
        latency=duration(record.latency_s),
        record_time=_timestamp(record.time),
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
