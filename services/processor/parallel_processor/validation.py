"""Requests checked field by field; every violation is named by its path, and all of them at once."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from datetime import UTC

from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from service_common.errors import FieldViolation, invalid_argument
from service_common.output_contract import problems

from parallel_processor.output.messages import contract_of_message

MAX_BATCH = 1_000
MAX_PAGE = 1_000
DEFAULT_PAGE = 50
_MAX_VARIABLES = 32
_MAX_VARIABLE_BYTES = 64 * 1024
_MAX_SPEC_BYTES = 512 * 1024
_MAX_RAW_BYTES = 256 * 1024
_MAX_MESSAGES = 16
_MAX_TOKENS = 131_072
_MAX_DEPENDENCIES = 16
_MAX_STOPS = 4
_MAX_WEIGHT = 10_000
_MAX_FALLBACKS = 8
_MAX_HANDLERS = 8
_JOB_PATHS = ("display_name", "labels", "priority")
TERMS_PATHS = (
    "terms.max_cost_micros",
    "terms.deadline",
    "terms.weight",
    "terms.max_failed_ratio",
    "terms.fallback_models",
)
"""What a mask may name of a job's terms, each by itself; `terms` names them all."""

_INT32_MAX = 2**31 - 1
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ITEM_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Violations:
    """Collects what is wrong with a request."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note a bad field."""
        self._found.append(FieldViolation(field, description))

    def require(self, ok: bool, field: str, description: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note a bad field unless it is fine."""
        if not ok:
            self.add(field, description)

    def text(self, field: str, value: str, *, most: int, required: bool = False) -> None:
        """Check a text's length in bytes."""
        if required and not value:
            self.add(field, "is required")
        elif len(value.encode()) > most:
            self.add(field, f"must be at most {most} bytes")

    def job_id(self, value: str) -> None:
        """Check that a text may be the id of a job."""
        self.text("job_id", value, most=128, required=True)
        if value and not _JOB_ID.fullmatch(value):
            self.add("job_id", "is made of letters, digits, '.', '_' and '-'")

    def member(self, field: str, value: int, enum: type) -> None:
        """Check that an enum's value is one of this contract."""
        if value not in enum.values():  # type: ignore[attr-defined]  # a protobuf enum wrapper
            self.add(field, "is not a value of this contract")

    def moment(self, field: str, value: Timestamp) -> None:
        """Check that a timestamp is a moment of the years 1 to 9999."""
        try:
            value.ToDatetime(UTC)
        except (ValueError, OverflowError):
            self.add(field, "must be a moment of the years 1 to 9999")

    def labels(self, field: str, labels: Mapping[str, str], *, most: int) -> None:
        """Check a map of labels."""
        self.require(len(labels) <= most, field, f"must have at most {most} pairs")
        for key, value in labels.items():
            if not key or len(key.encode()) > 63 or len(value.encode()) > 256:  # noqa: PLR2004 - the contract's limits
                self.add(field, "keys must be 1 to 63 bytes, values at most 256 bytes")
                return
            if key.startswith("__") and key.endswith("__"):
                self.add(field, "keys must not be __like_this__, which stores keep for themselves")
                return

    def raise_if_any(self) -> None:
        """Raise INVALID_ARGUMENT naming every bad field, if there is one."""
        if self._found:
            raise invalid_argument(*self._found)


def check_job_id(job_id: str) -> None:
    """Check the id of a job."""
    found = Violations()
    found.job_id(job_id)
    found.raise_if_any()


def check_create_job(request: pb.CreateJobRequest) -> None:
    """Check a request for a new job."""
    found = Violations()
    found.text("display_name", request.display_name, most=256)
    found.text("model", request.model, most=256)
    found.text("request_id", request.request_id, most=128)
    found.labels("labels", request.labels, most=32)
    found.member("priority", request.priority, pb.JobPriority)
    found.member("cache_policy", request.cache_policy, pb.CachePolicy)
    check_terms(found, "terms", request.terms)
    found.raise_if_any()


def check_update_job(request: pb.UpdateJobRequest) -> None:
    """Check what is to change about a job: only what the mask names is looked at."""
    found = Violations()
    job = request.job
    found.text("job.job_id", job.job_id, most=128, required=True)
    if job.job_id and not _JOB_ID.fullmatch(job.job_id):
        found.add("job.job_id", "is made of letters, digits, '.', '_' and '-'")
    paths = set(request.update_mask.paths)
    found.require(bool(paths), "update_mask", "must name what is to change")
    for unknown in sorted(paths - {"terms", *_JOB_PATHS, *TERMS_PATHS}):
        found.add("update_mask", f"{unknown[:64]!r} is not a field that can change")
    if "display_name" in paths:
        found.text("job.display_name", job.display_name, most=256)
    if "labels" in paths:
        found.labels("job.labels", job.labels, most=32)
    if "priority" in paths:
        found.member("job.priority", job.priority, pb.JobPriority)
    if paths & {"terms", *TERMS_PATHS}:
        check_terms(found, "job.terms", job.terms)
    found.raise_if_any()


def check_terms(found: Violations, field: str, terms: pb.JobTerms) -> None:
    """Check the terms of a job."""
    found.require(terms.max_cost_micros >= 0, f"{field}.max_cost_micros", "must not be negative")
    found.require(
        0 <= terms.weight <= _MAX_WEIGHT, f"{field}.weight", f"must be 1 to {_MAX_WEIGHT}, or 0 for 100"
    )
    found.require(0.0 <= terms.max_failed_ratio <= 1.0, f"{field}.max_failed_ratio", "must be 0 to 1")
    if terms.HasField("deadline"):
        found.moment(f"{field}.deadline", terms.deadline)
    _check_fallbacks(found, f"{field}.fallback_models", terms.fallback_models)


def _check_fallbacks(found: Violations, field: str, models: Sequence[str]) -> None:
    found.require(len(models) <= _MAX_FALLBACKS, field, f"must be at most {_MAX_FALLBACKS}")
    for number, model in enumerate(models):
        found.text(f"{field}[{number}]", model, most=256, required=True)


def check_add_items(request: pb.BatchAddItemsRequest) -> None:
    """Check a batch of items as a whole."""
    found = Violations()
    found.job_id(request.job_id)
    found.require(1 <= len(request.items) <= MAX_BATCH, "items", f"must be 1 to {MAX_BATCH} items")
    found.raise_if_any()


def check_item(field: str, item: pb.JobItem, *, handlers: Container[str]) -> None:
    """Check one item of a batch, where there are these handlers."""
    found = Violations()
    if not _ITEM_ID.fullmatch(item.item_id):
        found.add(f"{field}.item_id", "must be 1 to 128 letters, digits and ._:/-")
    found.labels(f"{field}.labels", item.labels, most=16)
    _check_spec(found, f"{field}.spec", item.spec if item.HasField("spec") else None)
    _check_output(found, f"{field}.spec", item.spec, handlers)
    found.require(
        len(item.depends_on) <= _MAX_DEPENDENCIES,
        f"{field}.depends_on",
        f"must be at most {_MAX_DEPENDENCIES}",
    )
    if item.depends_on and item.spec.WhichOneof("prompt") == "raw":
        found.add(f"{field}.depends_on", "a raw prompt has no variables to receive content")
    taken = set(item.spec.variables)
    for number, dependency in enumerate(item.depends_on):
        path = f"{field}.depends_on[{number}]"
        found.text(f"{path}.item_id", dependency.item_id, most=128, required=True)
        if not _NAME.fullmatch(dependency.variable):
            found.add(f"{path}.variable", "must be the name of a template variable")
        elif dependency.variable in taken:
            found.add(f"{path}.variable", "has a value in spec.variables or from another dependency already")
        taken.add(dependency.variable)
    found.raise_if_any()


def check_list_content_versions(request: pb.ListContentVersionsRequest) -> None:
    """Check which content versions are asked for."""
    found = Violations()
    selected = request.WhichOneof("selection")
    if selected == "item_id" and not _ITEM_ID.fullmatch(request.item_id):
        found.add("item_id", "must be 1 to 128 letters, digits and ._:/-")
    if selected == "content_type" and not _NAME.fullmatch(request.content_type):
        found.add("content_type", "must be lower-case letters, digits and _, starting with a letter")
    found.member("order", request.order, pb.ContentVersionOrder)
    by_quality = request.order in (
        pb.CONTENT_VERSION_ORDER_LOWEST_QUALITY_FIRST,
        pb.CONTENT_VERSION_ORDER_HIGHEST_QUALITY_FIRST,
    )
    found.require(selected == "content_type" or not by_quality, "order", "by quality needs a content_type")
    for bound in ("min_quality", "max_quality"):
        if request.HasField(bound):
            found.require(by_quality, bound, "needs an order by quality")
            found.require(0 <= getattr(request, bound) <= 1, bound, "must be 0 to 1")
    if request.HasField("max_quality"):
        found.require(request.min_quality <= request.max_quality, "max_quality", "is below min_quality")
    found.raise_if_any()


def check_version_id(version_id: str) -> None:
    """Check the id of a content version."""
    found = Violations()
    found.text("version_id", version_id, most=256, required=True)
    if version_id and not _JOB_ID.fullmatch(version_id):
        found.add("version_id", "is made of letters, digits, '.', '_' and '-'")
    found.raise_if_any()


def check_generate(
    request: pb.GenerateRequest | pb.StreamGenerateRequest, *, handlers: Container[str]
) -> None:
    """Check a request for one piece, where there are these handlers."""
    found = Violations()
    _check_spec(found, "spec", request.spec if request.HasField("spec") else None)
    _check_output(found, "spec", request.spec, handlers)
    found.text("request_id", request.request_id, most=128)
    found.require(request.max_cost_micros >= 0, "max_cost_micros", "must not be negative")
    found.raise_if_any()


def check_set_tenant_budget(request: pb.SetTenantBudgetRequest) -> None:
    """Check a tenant's new budget."""
    found = Violations()
    found.require(request.max_cost_micros >= 0, "max_cost_micros", "must not be negative")
    found.raise_if_any()


def _check_spec(found: Violations, field: str, spec: pb.PieceSpec | None) -> None:
    if spec is None or spec.WhichOneof("prompt") is None:
        found.add(f"{field}.prompt" if spec else field, "is required: a template_id or a raw prompt")
        return
    if spec.WhichOneof("prompt") == "raw":
        _check_raw(found, f"{field}.raw", spec.raw)
        found.require(not spec.variables, f"{field}.variables", "a raw prompt has no variables")
        found.require(spec.template_version == 0, f"{field}.template_version", "a raw prompt has no version")
    elif not _NAME.fullmatch(spec.template_id):
        found.add(f"{field}.template_id", "must be lower-case letters, digits and _, starting with a letter")
    found.require(spec.template_version >= 0, f"{field}.template_version", "must not be negative")
    found.require(0 <= spec.max_tokens <= _MAX_TOKENS, f"{field}.max_tokens", f"must be 0 to {_MAX_TOKENS}")
    found.require(spec.variation >= 0, f"{field}.variation", "must not be negative")
    found.text(f"{field}.model", spec.model, most=256)
    _check_fallbacks(found, f"{field}.fallback_models", spec.fallback_models)
    if spec.content_type and not _NAME.fullmatch(spec.content_type):
        found.add(f"{field}.content_type", "must be lower-case letters, digits and _, starting with a letter")
    found.member(f"{field}.cache_policy", spec.cache_policy, pb.CachePolicy)
    _check_variables(found, f"{field}.variables", spec.variables)


def _check_output(found: Violations, field: str, spec: pb.PieceSpec, handlers: Container[str]) -> None:
    if spec.HasField("output_contract"):
        for each in problems(f"{field}.output_contract", contract_of_message(spec.output_contract)):
            found.add(each.field, each.description)
    names = spec.handlers
    found.require(len(names) <= _MAX_HANDLERS, f"{field}.handlers", f"must be at most {_MAX_HANDLERS}")
    for number, name in enumerate(names[:_MAX_HANDLERS]):
        found.require(name in handlers, f"{field}.handlers[{number}]", "is no handler of this processor")


def _check_variables(found: Violations, field: str, variables: Mapping[str, str]) -> None:
    found.require(len(variables) <= _MAX_VARIABLES, field, f"must be at most {_MAX_VARIABLES}")
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            found.add(field, "names must be lower-case letters, digits and _, starting with a letter")
        elif len(value.encode()) > _MAX_VARIABLE_BYTES:
            found.add(f"{field}.{name}", f"must be at most {_MAX_VARIABLE_BYTES} bytes")
    total = sum(len(value.encode()) for value in variables.values())
    found.require(total <= _MAX_SPEC_BYTES, field, f"must be at most {_MAX_SPEC_BYTES} bytes together")


def _check_raw(found: Violations, field: str, raw: pb.RawPrompt) -> None:
    count = len(raw.messages)
    found.require(1 <= count <= _MAX_MESSAGES, f"{field}.messages", f"must be 1 to {_MAX_MESSAGES} messages")
    total = 0
    for number, message in enumerate(raw.messages):
        path = f"{field}.messages[{number}]"
        found.require(message.role in (1, 2, 3), f"{path}.role", "must be SYSTEM, USER or ASSISTANT")
        found.require(bool(message.content), f"{path}.content", "is required")
        total += len(message.content.encode())
    found.require(
        total <= _MAX_RAW_BYTES, f"{field}.messages", f"must be at most {_MAX_RAW_BYTES} bytes together"
    )
    found.require(1 <= raw.max_tokens <= _MAX_TOKENS, f"{field}.max_tokens", f"must be 1 to {_MAX_TOKENS}")
    if raw.HasField("temperature"):
        found.require(0 <= raw.temperature <= 2, f"{field}.temperature", "must be 0 to 2")  # noqa: PLR2004 - the contract's limit
    if raw.HasField("top_p"):
        found.require(0 < raw.top_p <= 1, f"{field}.top_p", "must be more than 0, at most 1")
    found.require(len(raw.stop) <= _MAX_STOPS, f"{field}.stop", f"must be at most {_MAX_STOPS}")
    for number, stop in enumerate(raw.stop):
        found.text(f"{field}.stop[{number}]", stop, most=256, required=True)


def page_size(asked: int) -> int:
    """Return how many to list.

    Raises:
        ServiceError: INVALID_ARGUMENT if the size is out of range.
    """
    found = Violations()
    found.require(0 <= asked <= MAX_PAGE, "page_size", f"must be 0 (for {DEFAULT_PAGE}) to {MAX_PAGE}")
    found.raise_if_any()
    return asked or DEFAULT_PAGE
