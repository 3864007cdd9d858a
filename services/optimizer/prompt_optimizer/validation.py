"""What the contract asks of requests, checked on plain values; every violation names its field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite

from service_common.errors import FieldViolation, ServiceError, invalid_argument
from service_common.output_contract import problems
from service_common.templating import compile_template

from prompt_optimizer.outcomes.outcome import Outcome
from prompt_optimizer.templates.source import (
    DEFAULT_VARIABLE_BYTES,
    Message,
    Sampling,
    TemplateSource,
    Variable,
)

MAX_BATCH = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 50
MAX_TOKENS = 131_072
MAX_NAME_BYTES = 128
MAX_DESCRIPTION_BYTES = 1024
MAX_MESSAGES = 16
MAX_SOURCE_BYTES = 64 * 1024
MAX_RAW_BYTES = 256 * 1024
MAX_VARIABLES = 32
MAX_DEFAULTS_BYTES = 128 * 1024
MAX_MODEL_BYTES = 256
MAX_STOPS = 4
MAX_STOP_BYTES = 1024
MAX_OUTPUT_BYTES = 1024 * 1024
MAX_SUBJECTS = 8
MAX_SUBJECT_BYTES = 1024
MAX_DECISION_BYTES = 256
MAX_HANDLERS = 8
MAX_DURATION_S = 366 * 24 * 3600

_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ID_FORM = "must be 1 to 63 lower-case letters, digits and underscores, starting with a letter"
_INT32_MAX = 2**31 - 1
_SECOND = 1_000_000_000

Violations = Iterator[FieldViolation]


def check(violations: Iterable[FieldViolation]) -> None:
    """Refuse a request with any violation, naming all of them.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    found = tuple(violations)
    if found:
        raise invalid_argument(*found)


def identifier(field: str, value: str, *, optional: bool = False) -> Violations:
    """Check an id or a content type."""
    if not (optional and not value) and not _ID.fullmatch(value):
        yield FieldViolation(field, _ID_FORM)


def text(field: str, value: str, *, most: int, least: int = 0) -> Violations:
    """Check a text's length in bytes of UTF-8."""
    if not least <= len(value.encode()) <= most:
        yield FieldViolation(
            field, f"must be at most {most} bytes" if not least else f"must be {least} to {most} bytes"
        )


def number(field: str, value: int, *, least: int, most: int) -> Violations:
    """Check a whole number."""
    if not least <= value <= most:
        yield FieldViolation(field, f"must be {least} to {most}")


def score(field: str, value: float) -> Violations:
    """Check a score."""
    if not 0 <= value <= 1:
        yield FieldViolation(field, "must be 0 to 1")


def duration(field: str, seconds: int, nanos: int) -> Violations:
    """Check a length of time."""
    if not (0 <= seconds <= MAX_DURATION_S and 0 <= nanos < _SECOND):
        yield FieldViolation(field, f"must be 0 to {MAX_DURATION_S} seconds")


def sampling(field: str, value: Sampling) -> Violations:
    """Check how a model is to sample."""
    yield from number(f"{field}.max_tokens", value.max_tokens, least=1, most=MAX_TOKENS)
    if value.temperature is not None and not (isfinite(value.temperature) and 0 <= value.temperature <= 2):  # noqa: PLR2004 - the contract's bound
        yield FieldViolation(f"{field}.temperature", "must be 0 to 2")
    if value.top_p is not None and not (isfinite(value.top_p) and 0 < value.top_p <= 1):
        yield FieldViolation(f"{field}.top_p", "must be more than 0 and at most 1")
    if len(value.stop) > MAX_STOPS:
        yield FieldViolation(f"{field}.stop", f"must be at most {MAX_STOPS} texts")
    for index, each in enumerate(value.stop[:MAX_STOPS]):
        yield from text(f"{field}.stop[{index}]", each, least=1, most=MAX_STOP_BYTES)


def messages(field: str, values: tuple[Message, ...], *, most_bytes: int) -> Violations:
    """Check how many messages there are and how large they are together."""
    if not 1 <= len(values) <= MAX_MESSAGES:
        yield FieldViolation(field, f"must be 1 to {MAX_MESSAGES} messages")
    if sum(len(each.content.encode()) for each in values) > most_bytes:
        yield FieldViolation(field, f"must be at most {most_bytes} bytes together")


def source(field: str, value: TemplateSource) -> Violations:
    """Check what a version says, so that whatever passes can be rendered."""
    yield from sampling(f"{field}.sampling", value.sampling)
    yield from text(f"{field}.model", value.model, most=MAX_MODEL_BYTES)
    if value.output_contract is not None:
        yield from problems(f"{field}.output_contract", value.output_contract)
    yield from handlers(f"{field}.handlers", value.handlers)
    yield from _variables(f"{field}.variables", value.variables)
    sizes = list(messages(f"{field}.messages", value.messages, most_bytes=MAX_SOURCE_BYTES))
    yield from sizes
    if not sizes:
        names = {each.name for each in value.variables}
        for index, each in enumerate(value.messages):
            yield from _message(f"{field}.messages[{index}].content", each.content, names)


def handlers(field: str, values: tuple[str, ...]) -> Violations:
    """Check the names of handlers; whether there are such is the processor's to say."""
    if len(values) > MAX_HANDLERS:
        yield FieldViolation(field, f"must be at most {MAX_HANDLERS} handlers")
    for index, each in enumerate(values[:MAX_HANDLERS]):
        yield from identifier(f"{field}[{index}]", each)


def _message(field: str, content: str, names: set[str]) -> Violations:
    try:
        used = compile_template(content).variables
    except ServiceError as error:
        yield FieldViolation(field, error.message)
        return
    for name in sorted(used - names):
        yield FieldViolation(field, f"uses the variable {name!r}, which `variables` does not list")


def _variables(field: str, values: tuple[Variable, ...]) -> Violations:
    if len(values) > MAX_VARIABLES:
        yield FieldViolation(field, f"must be at most {MAX_VARIABLES} variables")
        return
    seen: set[str] = set()
    for index, each in enumerate(values):
        yield from _variable(f"{field}[{index}]", each)
        if each.name in seen:
            yield FieldViolation(f"{field}[{index}].name", "is listed before")
        seen.add(each.name)
    if sum(len(each.default.encode()) for each in values) > MAX_DEFAULTS_BYTES:
        yield FieldViolation(field, f"defaults must be at most {MAX_DEFAULTS_BYTES} bytes together")


def _variable(field: str, value: Variable) -> Violations:
    yield from identifier(f"{field}.name", value.name)
    yield from text(f"{field}.description", value.description, most=512)
    if not 1 <= value.max_bytes <= _INT32_MAX:
        yield FieldViolation(
            f"{field}.max_bytes", f"must not be negative; 0 stands for {DEFAULT_VARIABLE_BYTES}"
        )
    if value.required and value.default:
        yield FieldViolation(f"{field}.default_value", "must be empty: a required variable has no default")
    elif len(value.default.encode()) > max(0, value.max_bytes):
        yield FieldViolation(f"{field}.default_value", "must not be longer than max_bytes")


def variables(field: str, values: Mapping[str, str]) -> Violations:
    """Check the number of a request's variables; the version itself knows which it takes."""
    if len(values) > MAX_VARIABLES:
        yield FieldViolation(field, f"must be at most {MAX_VARIABLES} variables")


def outcome(value: Outcome) -> Violations:
    """Check one reported outcome."""
    yield from text("decision_id", value.decision_id, least=1, most=MAX_DECISION_BYTES)
    yield from text("output", value.output, most=MAX_OUTPUT_BYTES)
    if len(value.subjects) > MAX_SUBJECTS:
        yield FieldViolation("subjects", f"must be at most {MAX_SUBJECTS} texts")
    for index, each in enumerate(value.subjects[:MAX_SUBJECTS]):
        yield from text(f"subjects[{index}]", each, most=MAX_SUBJECT_BYTES)
    for name in ("prompt_tokens", "output_tokens", "cost_micros"):
        if getattr(value, name) < 0:
            yield FieldViolation(name, "must not be negative")


def batch_size(field: str, count: int) -> Violations:
    """Check how many requests a batch holds."""
    if not 1 <= count <= MAX_BATCH:
        yield FieldViolation(field, f"must be 1 to {MAX_BATCH}, got {count}")


def page_size(value: int) -> int:
    """Return the page size meant.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    check(number("page_size", value, least=0, most=MAX_PAGE))
    return value or DEFAULT_PAGE
