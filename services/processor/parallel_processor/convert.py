"""Messages to domain values and back; nothing is decided here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.errors import ServiceError
from service_common.rpc.status import to_status
from service_common.rpc.times import duration, timestamp

from parallel_processor.content_versions.question import Question, VersionOrder
from parallel_processor.content_versions.version import ContentVersion
from parallel_processor.estimator import Estimate
from parallel_processor.interactive import served
from parallel_processor.jobs.item import Dependency, Item, ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, Priority, StateReason
from parallel_processor.jobs.piece import (
    CachePolicy,
    Piece,
    PieceError,
    PieceSpec,
    RawPrompt,
    Sampling,
    Usage,
)
from parallel_processor.jobs.terms import NORMAL_WEIGHT, Terms
from parallel_processor.output.messages import contract_of_message
from parallel_processor.results import ListedItem
from parallel_processor.spool import Text
from parallel_processor.tenant_budgets import BudgetReading
from parallel_processor.validation import TERMS_PATHS

_ROLES = {
    pb.ChatMessage.ROLE_SYSTEM: "system",
    pb.ChatMessage.ROLE_USER: "user",
    pb.ChatMessage.ROLE_ASSISTANT: "assistant",
}
_POLICIES = {
    pb.CACHE_POLICY_USE: CachePolicy.USE,
    pb.CACHE_POLICY_REFRESH: CachePolicy.REFRESH,
    pb.CACHE_POLICY_BYPASS: CachePolicy.BYPASS,
    pb.CACHE_POLICY_USE_SIMILAR: CachePolicy.USE_SIMILAR,
}
_POLICY_NUMBERS = {policy: number for number, policy in _POLICIES.items()}
_JOB_STATES = {state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
_JOB_STATES_BACK = {number: state for state, number in _JOB_STATES.items()}
_VERSION_ORDERS = {
    pb.CONTENT_VERSION_ORDER_LOWEST_QUALITY_FIRST: VersionOrder.LOWEST_QUALITY_FIRST,
    pb.CONTENT_VERSION_ORDER_HIGHEST_QUALITY_FIRST: VersionOrder.HIGHEST_QUALITY_FIRST,
}


def priority(number: int) -> Priority:
    """Read how urgent a job is."""
    return Priority(number) if number else Priority.NORMAL


def cache_policy(number: int) -> CachePolicy | None:
    """Read how to use the cache; None when it is not said."""
    return _POLICIES.get(number)  # type: ignore[call-overload,no-any-return]  # keys are the enum's numbers


def terms(message: pb.JobTerms) -> Terms:
    """Read the terms of a job."""
    return Terms(
        max_cost_micros=message.max_cost_micros if message.HasField("max_cost_micros") else None,
        deadline=message.deadline.ToDatetime(UTC) if message.HasField("deadline") else None,
        weight=message.weight or NORMAL_WEIGHT,
        max_failed_ratio=message.max_failed_ratio if message.HasField("max_failed_ratio") else 1.0,
        fallback_models=tuple(message.fallback_models),
    )


def job_changes(message: pb.Job, paths: Sequence[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Read what a mask names of a job: its own fields, and those of its terms."""
    named = {each for path in paths for each in (TERMS_PATHS if path == "terms" else (path,))}
    asked = {
        "display_name": message.display_name,
        "labels": dict(message.labels),
        "priority": priority(message.priority),
    }
    agreed = terms(message.terms)
    return (
        {name: value for name, value in asked.items() if name in named},
        {
            path.removeprefix("terms."): getattr(agreed, path.removeprefix("terms."))
            for path in TERMS_PATHS
            if path in named
        },
    )


def _terms_message(terms: Terms) -> pb.JobTerms:
    return pb.JobTerms(
        max_cost_micros=terms.max_cost_micros,
        deadline=timestamp(terms.deadline),
        weight=terms.weight,
        max_failed_ratio=terms.max_failed_ratio,
        fallback_models=terms.fallback_models,
    )


def job_state(number: int) -> JobState | None:
    """Read a job's state; None when it is not said."""
    return _JOB_STATES_BACK.get(number)  # type: ignore[call-overload,no-any-return]  # keys are the enum's numbers


def item_state(number: int) -> ItemState | None:
    """Read an item's state; None when it is not said."""
    return ItemState(number) if number else None


def item(message: pb.JobItem) -> Item:
    """Read an item."""
    return Item(
        item_id=message.item_id,
        spec=spec(message.spec),
        depends_on=tuple(Dependency(each.item_id, each.variable) for each in message.depends_on),
        labels=dict(message.labels),
    )


def spec(message: pb.PieceSpec) -> PieceSpec:
    """Read what to generate."""
    is_raw = message.WhichOneof("prompt") == "raw"
    return PieceSpec(
        template_id=None if is_raw else message.template_id,
        raw=_raw(message.raw) if is_raw else None,
        template_version=message.template_version,
        variables=dict(message.variables),
        content_type=message.content_type,
        model=message.model,
        max_tokens=message.max_tokens,
        variation=message.variation,
        cache_policy=cache_policy(message.cache_policy),
        output_contract=contract_of_message(message.output_contract)
        if message.HasField("output_contract")
        else None,
        handlers=tuple(message.handlers),
        fallback_models=tuple(message.fallback_models),
    )


def _raw(message: pb.RawPrompt) -> RawPrompt:
    return RawPrompt(
        messages=tuple((_ROLES[each.role], each.content) for each in message.messages),
        sampling=Sampling(
            max_tokens=message.max_tokens,
            temperature=message.temperature if message.HasField("temperature") else None,
            top_p=message.top_p if message.HasField("top_p") else None,
            seed=message.seed if message.HasField("seed") else None,
            stop=tuple(message.stop),
        ),
    )


def job_message(job: Job, counts: ItemCounts, usage: Usage, *, reserved: int = 0) -> pb.Job:
    """Write a job with the totals given."""
    begun = counts.finished + counts.running
    pending = job.item_count - begun
    return pb.Job(
        job_id=job.job_id,
        display_name=job.display_name,
        user=job.user,
        state=_JOB_STATES[job.state],
        priority=pb.JobPriority.ValueType(int(job.priority)),
        labels=job.labels,
        model=job.model,
        cache_policy=_POLICY_NUMBERS[job.cache_policy],
        counts=pb.ItemCounts(
            total=job.item_count,
            pending=max(0, pending),
            running=counts.running,
            succeeded=counts.succeeded,
            failed=counts.failed,
            skipped=counts.skipped,
            cancelled=counts.cancelled,
            cached=counts.cached,
        ),
        usage=pb.Usage(
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            model_calls=usage.model_calls,
            cost_micros=usage.cost_micros,
            saved_micros=usage.saved_micros,
            uncertain_calls=usage.uncertain_calls,
            uncertain_spend_micros=usage.uncertain_spend_micros,
        ),
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        finish_time=timestamp(job.finish_time),
        terms=_terms_message(job.terms),
        state_reason=_state_reason(job.state_reason),
        reserved_micros=reserved,
    )


def _state_reason(why: StateReason | None) -> pb.JobStateReason | None:
    return pb.JobStateReason(reason=why.reason, message=why.message) if why else None


def add_items_response(results: Sequence[bool | ServiceError]) -> pb.BatchAddItemsResponse:
    """Write what became of the items of a batch."""
    response = pb.BatchAddItemsResponse()
    for each in results:
        if isinstance(each, ServiceError):
            response.results.add(error=to_status(each))
        else:
            response.results.add(value=pb.BatchAddItemsResponse.AddedItem(already_added=each))
    return response


def item_status(listed: ListedItem) -> pb.ItemStatus:
    """Write an item and where it is."""
    return pb.ItemStatus(
        item_id=listed.item.item_id,
        content_type=listed.item.spec.content_type or listed.item.spec.template_id or "text",
        state=pb.ItemState.ValueType(int(listed.state)),
        error=_error(listed.error),
        labels=listed.item.labels,
        depends_on=[each.item_id for each in listed.item.depends_on],
    )


def item_result(outcome: Outcome) -> pb.ItemResult:
    """Write how an item ended."""
    return pb.ItemResult(
        item_id=outcome.item_id,
        state=pb.ItemState.ValueType(int(outcome.state)),
        piece=piece(outcome.piece) if outcome.piece else None,
        error=_error(outcome.error),
        labels=outcome.labels,
        attempts=outcome.attempts,
        finish_time=timestamp(outcome.finish_time),
    )


def piece(made: Piece) -> pb.Piece:
    """Write a piece, as it is shown."""
    shown = served(made)
    return pb.Piece(
        content=shown.content,
        content_type=shown.content_type,
        model=shown.model,
        template_id=shown.template_id,
        template_version=shown.template_version,
        cache_key=shown.cache_key,
        cached=shown.cached,
        truncated=shown.truncated,
        prompt_tokens=shown.prompt_tokens,
        output_tokens=shown.output_tokens,
        cost_micros=shown.cost_micros,
        quality=shown.quality,
        generate_duration=duration(shown.generate_s),
        similarity=shown.similarity,
    )


def generated_frame(frame: Text | Piece) -> pb.StreamGenerateResponse:
    """Write a frame of a piece that is sent as it is written."""
    if isinstance(frame, Piece):
        return pb.StreamGenerateResponse(piece=piece(replace(frame, content="")))
    if frame.anew:
        return pb.StreamGenerateResponse(anew=frame.text)
    return pb.StreamGenerateResponse(text=frame.text)


def question(message: pb.ListContentVersionsRequest) -> Question:
    """Read which content versions to list, and in which order."""
    return Question(
        item_id=message.item_id,
        content_type=message.content_type,
        order=_VERSION_ORDERS.get(message.order, VersionOrder.NEWEST_FIRST),
        min_quality=message.min_quality if message.HasField("min_quality") else 0.0,
        max_quality=message.max_quality if message.HasField("max_quality") else 1.0,
    )


def content_version(version: ContentVersion, *, with_content: bool) -> pb.ContentVersion:
    """Write a content version."""
    shown = version.piece if with_content else replace(version.piece, content="")
    return pb.ContentVersion(
        version_id=version.version_id,
        item_id=version.item_id,
        job_id=version.job_id,
        piece=piece(shown),
        create_time=timestamp(version.create_time),
    )


def job_estimate(found: Estimate) -> pb.JobEstimate:
    """Write what a job will cost and take."""
    cost, seconds, scale = found.forecast.cost, found.forecast.seconds, found.scale
    message = pb.JobEstimate(
        item_count=found.job.item_count,
        sampled_items=found.looked_at,
        cached_items=round(scale * found.cached),
        equal_items=round(scale * found.equal),
        refused_items=round(scale * found.refused),
        model_calls=round(scale * found.calls),
        cost=pb.JobEstimate.CostInterval(
            low_micros=math.floor(cost.low),
            expected_micros=round(cost.expected),
            high_micros=math.ceil(cost.high),
        ),
        worst_case_micros=found.worst_case_micros,
        measured_calls=found.forecast.measured,
        cache_unknown=found.cache_unknown,
        content_types=[
            pb.JobEstimate.OfContentType(
                content_type=name,
                item_count=round(scale * each.items),
                model_calls=round(scale * each.calls),
                expected_cost_micros=round(scale * each.cost_micros),
            )
            for name, each in sorted(found.types.items())
        ],
    )
    if seconds is not None:
        interval = pb.JobEstimate.DurationInterval(
            low=duration(seconds.low), expected=duration(seconds.expected), high=duration(seconds.high)
        )
        message.duration.CopyFrom(interval)
    return message


def tenant_budget(reading: BudgetReading) -> pb.TenantBudget:
    """Write where a tenant's budget stands."""
    return pb.TenantBudget(
        max_cost_micros=reading.cap,
        spent_micros=reading.spent,
        uncertain_spend_micros=reading.uncertain,
        reserved_micros=reading.reserved,
        since=timestamp(reading.since),
    )


def _error(error: PieceError | None) -> pb.ItemError | None:
    return pb.ItemError(reason=error.reason, message=error.message) if error else None
