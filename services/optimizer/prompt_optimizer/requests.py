"""Requests read and checked: messages to domain values, what is wrong refused by the name of its field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeVar

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtoMessage
from service_common.errors import FieldViolation, ServiceError, invalid_field
from service_common.output_contract import Bounds, OutputContract

from prompt_optimizer import validation
from prompt_optimizer.decisions.optimizer import PromptRequest, RawPrompt
from prompt_optimizer.outcomes.listing import RecordQuery
from prompt_optimizer.outcomes.outcome import Outcome, Status
from prompt_optimizer.templates.source import (
    DEFAULT_VARIABLE_BYTES,
    Message,
    Role,
    Sampling,
    TemplateSource,
    TemplateVersion,
    Variable,
)
from prompt_optimizer.templates.stored import RequestId
from prompt_optimizer.templates.template import VersionKey

R = TypeVar("R")
T = TypeVar("T")

_ROLES = {
    pb.ChatMessage.ROLE_SYSTEM: Role.SYSTEM,
    pb.ChatMessage.ROLE_USER: Role.USER,
    pb.ChatMessage.ROLE_ASSISTANT: Role.ASSISTANT,
}
_STATUSES = {
    pb.Outcome.STATUS_SUCCEEDED: Status.SUCCEEDED,
    pb.Outcome.STATUS_TRUNCATED: Status.TRUNCATED,
    pb.Outcome.STATUS_FILTERED: Status.FILTERED,
    pb.Outcome.STATUS_FAILED: Status.FAILED,
}


def source_from(field: str, message: pb.TemplateSource) -> TemplateSource:
    """Read and check what a version says.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    source = TemplateSource(
        messages=_messages_from(f"{field}.messages", message.messages),
        variables=tuple(_variable_from(each) for each in message.variables),
        sampling=_sampling_from(message.sampling),
        model=message.model,
        output_contract=_contract_from(message),
        handlers=tuple(message.handlers),
    )
    validation.check(validation.source(field, source))
    return source


def _messages_from(field: str, messages: Sequence[pb.ChatMessage]) -> tuple[Message, ...]:
    for index, each in enumerate(messages):
        if each.role not in _ROLES:
            raise invalid_field(f"{field}[{index}].role", "must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT")
    return tuple(Message(_ROLES[each.role], each.content) for each in messages)


def _variable_from(message: pb.TemplateSource.Variable) -> Variable:
    return Variable(
        name=message.name,
        description=message.description,
        required=message.required,
        default=message.default_value,
        max_bytes=message.max_bytes or DEFAULT_VARIABLE_BYTES,
    )


def _sampling_from(message: pb.SamplingParameters) -> Sampling:
    return Sampling(
        max_tokens=message.max_tokens,
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )


def _contract_from(message: pb.TemplateSource) -> OutputContract | None:
    if not message.HasField("output_contract"):
        return None
    contract = message.output_contract
    return OutputContract(
        json_schema=contract.json.schema if contract.HasField("json") else None,
        markdown=contract.HasField("markdown"),
        headings=tuple(contract.markdown.headings),
        sections=_bounds_from(contract.markdown.sections),
        characters=_bounds_from(contract.characters),
        words=_bounds_from(contract.words),
        items=_bounds_from(contract.items),
    )


def _bounds_from(message: pb.OutputContract.Bounds) -> Bounds:
    return Bounds(message.min, message.max)


def prompt_request_from(message: pb.OptimizeRequest) -> PromptRequest:
    """Read and check one request for a prompt.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    kind = message.WhichOneof("prompt")
    if kind is None:
        raise invalid_field("template_id", "give a template_id or a raw prompt")
    variables = dict(message.variables)
    violations = [
        *validation.identifier("content_type", message.content_type, optional=True),
        *validation.text("model", message.model, most=validation.MAX_MODEL_BYTES),
        *validation.number("max_tokens", message.max_tokens, least=0, most=validation.MAX_TOKENS),
        *validation.number("version", message.version, least=0, most=2**31 - 1),
    ]
    if kind == "raw":
        violations += _only_with_a_template(message)
    else:
        violations += validation.identifier("template_id", message.template_id)
        violations += validation.variables("variables", variables)
    raw = _raw_from(message.raw, violations) if kind == "raw" else None
    validation.check(violations)
    return PromptRequest(
        template_id=message.template_id,
        raw=raw,
        version=message.version,
        variables=variables,
        content_type=message.content_type,
        model=message.model,
        max_tokens=message.max_tokens,
    )


def _only_with_a_template(message: pb.OptimizeRequest) -> list[FieldViolation]:
    return [
        FieldViolation(name, "goes with a template, not with a raw prompt")
        for name, given in (("version", message.version), ("variables", message.variables))
        if given
    ]


def _raw_from(message: pb.RawPrompt, violations: list[FieldViolation]) -> RawPrompt:
    raw = RawPrompt(_messages_from("raw.messages", message.messages), _sampling_from(message.sampling))
    violations += validation.messages("raw.messages", raw.messages, most_bytes=validation.MAX_RAW_BYTES)
    violations += validation.sampling("raw.sampling", raw.sampling)
    return raw


def first_version_from(message: pb.CreateTemplateRequest) -> TemplateVersion:
    """Read and check a new template's first version.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    validation.check(
        (
            *validation.identifier("template_id", message.template_id),
            *validation.identifier("content_type", message.content_type, optional=True),
            *validation.text("display_name", message.display_name, most=validation.MAX_NAME_BYTES),
            *validation.text("description", message.description, most=validation.MAX_DESCRIPTION_BYTES),
        )
    )
    return TemplateVersion(
        template_id=message.template_id,
        version=1,
        content_type=message.content_type or message.template_id,
        source=source_from("source", message.source),
        description=message.description,
    )


def description_from(text: str) -> str:
    """Check why a version was made.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    validation.check(validation.text("description", text, most=validation.MAX_DESCRIPTION_BYTES))
    return text


def check_template_id(template_id: str) -> None:
    """Refuse what cannot be the id of a template.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    validation.check(validation.identifier("template_id", template_id))


def outcome_from(message: pb.Outcome) -> Outcome:
    """Read and check one reported outcome.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    if message.status not in _STATUSES:
        raise invalid_field("status", "must be one of the statuses, not STATUS_UNSPECIFIED")
    outcome = Outcome(
        decision_id=message.decision_id,
        status=_STATUSES[message.status],
        output=message.output,
        subjects=tuple(message.subjects),
        prompt_tokens=message.prompt_tokens,
        output_tokens=message.output_tokens,
        cost_micros=message.cost_micros,
        latency_s=_latency_from(message.latency),
    )
    validation.check(validation.outcome(outcome))
    return outcome


def _latency_from(message: Duration) -> float:
    validation.check(validation.duration("latency", message.seconds, message.nanos))
    return message.seconds + message.nanos / 1e9


def check_attempt(attempt: int) -> None:
    """Refuse what cannot be the number of a sending.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    validation.check(validation.number("attempt", attempt, least=0, most=2**31 - 1))


def check_record_filters(message: pb.ListQualityRecordsRequest) -> None:
    """Refuse filters and orders that quality records cannot be listed by.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    least = 1 if message.template_id else 0
    by_score = message.order == pb.ListQualityRecordsRequest.ORDER_LOWEST_SCORE_FIRST
    violations = [
        *validation.identifier("template_id", message.template_id, optional=True),
        *validation.number("version", message.version, least=least, most=(2**31 - 1) * least),
        *validation.identifier("content_type", message.content_type, optional=not by_score),
        *validation.score("min_score", message.min_score),
        *validation.score("max_score", message.max_score),
    ]
    if message.order not in pb.ListQualityRecordsRequest.Order.values():
        violations.append(FieldViolation("order", "must be one of the orders"))
    validation.check(violations)


def record_query_from(message: pb.ListQualityRecordsRequest, version: VersionKey | None) -> RecordQuery:
    """Read a checked request for quality records, of this version."""
    return RecordQuery(
        version=version,
        content_type=message.content_type,
        min_score=message.min_score if message.HasField("min_score") else None,
        max_score=message.max_score if message.HasField("max_score") else None,
        by_score=message.order == pb.ListQualityRecordsRequest.ORDER_LOWEST_SCORE_FIRST,
    )


def each_from(field: str, messages: Sequence[R], read: Callable[[R], T]) -> list[T | ServiceError]:
    """Read each request of a batch; one that is wrong becomes its own error, naming its place.

    Raises:
        ServiceError: INVALID_ARGUMENT if the batch is empty or too large.
    """
    validation.check(validation.batch_size(field, len(messages)))
    results: list[T | ServiceError] = []
    for index, each in enumerate(messages):
        try:
            results.append(read(each))
        except ServiceError as error:
            results.append(placed(error, f"{field}[{index}]"))
    return results


def placed(error: ServiceError, place: str) -> ServiceError:
    """Return the error with its fields named as parts of the batch."""
    if not error.violations:
        return error
    violations = [FieldViolation(f"{place}.{each.field}", each.description) for each in error.violations]
    text = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return ServiceError(error.kind, error.reason, text, violations=violations, metadata=error.metadata)


def placed_result(result: T | ServiceError, field: str, index: int) -> T | ServiceError:
    """Return a result of the domain, an error with its fields named as parts of the batch."""
    if not isinstance(result, ServiceError):
        return result
    place = f"{field}[{index}]"
    if any(each.field.startswith(place) for each in result.violations):
        return result
    return placed(result, place)


def request_id_from(method: str, request: ProtoMessage, value: str) -> RequestId | None:
    """Return what makes a repeat of the request known; None if it is not meant to be."""
    if not value:
        return None
    validation.check(validation.text("request_id", value, most=128))
    return RequestId(method, value, sha256(request.SerializeToString(deterministic=True)).hexdigest())
