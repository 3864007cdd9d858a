"""From request messages to domain values, checked field by field; pure."""

from __future__ import annotations

from datetime import datetime

from contentfactory.tracker.v1 import tracker_pb2 as pb
from service_common.errors import invalid_field

from progress_tracker.job_filter import JobFilter
from progress_tracker.report import (
    ItemState,
    ItemUpdate,
    JobPriority,
    JobState,
    JobUpdate,
    QueueStanding,
    Report,
    StageSpan,
    Totals,
)
from progress_tracker.validation import Violations, micros_of
from progress_tracker.watching import EventWatch, Pace

MAX_REPORTS = 1000
MAX_ITEMS = 1000
MAX_STAGES = 16
MAX_NAME_BYTES = 64
MAX_TITLE_BYTES = 256
MAX_MESSAGE_BYTES = 1024
MAX_LABELS = 32
MAX_LABEL_KEY_BYTES = 63
MAX_LABEL_VALUE_BYTES = 256
MAX_CONTENT_TYPES = 64
_DEFAULT_MIN_INTERVAL_S = 0.2
_DEFAULT_IDLE_S = 15.0
_MICRO = 1_000_000
_MAX_UTF8_BYTES = 4

_ITEM_STATES = {int(each): each for each in ItemState}
_JOB_STATES = {int(each): each for each in JobState}
_PRIORITIES = {int(each): each for each in JobPriority}
_ITEM_FIGURES = ("attempts", "prompt_tokens", "output_tokens", "cost_micros")


def check_reports(request: pb.BatchReportProgressRequest) -> None:
    """Refuse a batch that is empty or too long."""
    if not 1 <= len(request.reports) <= MAX_REPORTS:
        raise invalid_field("reports", f"must hold 1 to {MAX_REPORTS}, holds {len(request.reports)}")


def read_report(path: str, message: pb.ProgressReport, *, arrival: datetime) -> Report:
    """Return a report.

    Args:
        path: Of the message within its request, for errors.
        message: As it came.
        arrival: When it came, for one that does not say when it happened.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    wrong = Violations()
    wrong.name(f"{path}.job_id", message.job_id)
    wrong.name(f"{path}.producer_id", message.producer_id)
    if message.producer_sequence <= 0:
        wrong.add(f"{path}.producer_sequence", "is required and more than 0")
    time: datetime | None = arrival
    if message.HasField("report_time"):
        time = wrong.time(f"{path}.report_time", message.report_time)
    if len(message.items) > MAX_ITEMS:
        wrong.add(f"{path}.items", f"must hold at most {MAX_ITEMS}, holds {len(message.items)}")
    wrong.check()
    report = Report(
        producer_id=message.producer_id,
        sequence=message.producer_sequence,
        time=time or arrival,
        job=_read_job(wrong, f"{path}.job", message.job) if message.HasField("job") else None,
        totals=_read_totals(wrong, f"{path}.totals", message.totals) if message.HasField("totals") else None,
        items=tuple(_read_item(wrong, path, index, each) for index, each in enumerate(message.items)),
        queue=_read_standing(wrong, f"{path}.queue", message.queue, time or arrival)
        if message.HasField("queue")
        else None,
    )
    wrong.check()
    return report


def _read_job(wrong: Violations, path: str, message: pb.JobUpdate) -> JobUpdate:
    wrong.text(f"{path}.display_name", message.display_name, MAX_TITLE_BYTES)
    wrong.text(f"{path}.user", message.user, 128)
    wrong.text(f"{path}.message", message.message, MAX_MESSAGE_BYTES)
    wrong.figure(f"{path}.item_count", message.item_count)
    if message.state not in _JOB_STATES:
        wrong.add(f"{path}.state", "is not a known state")
    if message.priority not in _PRIORITIES:
        wrong.add(f"{path}.priority", "is not a known priority")
    _check_labels(wrong, f"{path}.labels", message)
    _check_content_types(wrong, f"{path}.items_by_content_type", message)
    return JobUpdate(
        state=_JOB_STATES.get(message.state, JobState.UNKNOWN),
        display_name=message.display_name,
        user=message.user,
        priority=_PRIORITIES.get(message.priority, JobPriority.UNKNOWN),
        labels=dict(message.labels),
        item_count=message.item_count,
        items_by_content_type=dict(message.items_by_content_type),
        create_time=_optional_time(wrong, path, message, "create_time"),
        start_time=_optional_time(wrong, path, message, "start_time"),
        finish_time=_optional_time(wrong, path, message, "finish_time"),
        message=message.message,
    )


def _check_labels(wrong: Violations, path: str, message: pb.JobUpdate) -> None:
    wrong.pairs(path, message.labels, MAX_LABELS)
    for key, value in message.labels.items():
        wrong.text(f"{path} key", key, MAX_LABEL_KEY_BYTES)
        wrong.text(f"{path}[{key[:MAX_LABEL_KEY_BYTES]}]", value, MAX_LABEL_VALUE_BYTES)


def _check_content_types(wrong: Violations, path: str, message: pb.JobUpdate) -> None:
    wrong.pairs(path, message.items_by_content_type, MAX_CONTENT_TYPES)
    for name, count in message.items_by_content_type.items():
        wrong.text(f"{path} key", name, MAX_NAME_BYTES)
        wrong.figure(f"{path}[{name[:MAX_NAME_BYTES]}]", count)


def _optional_time(wrong: Violations, path: str, message: pb.JobUpdate, name: str) -> datetime | None:
    return wrong.time(f"{path}.{name}", getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]  # one of the three time fields


def _read_standing(wrong: Violations, path: str, message: pb.QueueStanding, time: datetime) -> QueueStanding:
    wrong.figure(f"{path}.position", message.position)
    if message.position == 0:
        wrong.add(f"{path}.position", "is required and more than 0")
    if message.priority not in _PRIORITIES:
        wrong.add(f"{path}.priority", "is not a known priority")
    since = None
    if message.HasField("waiting_since"):
        since = wrong.time(f"{path}.waiting_since", message.waiting_since)
    priority = _PRIORITIES.get(message.priority) or JobPriority.NORMAL
    return QueueStanding(time, message.position, priority, since)


def _read_totals(wrong: Violations, path: str, message: pb.ProducerTotals) -> Totals:
    totals = Totals(*(getattr(message, name) for name in Totals._fields))
    for name, value in zip(Totals._fields, totals, strict=True):
        wrong.figure(f"{path}.{name}", value)
    return totals


def _read_item(wrong: Violations, parent: str, index: int, message: pb.ItemUpdate) -> ItemUpdate:
    wrong.place = parent, index  # it is written out only for a field that is bad
    _check_item(wrong, message)
    score = message.quality if message.HasField("quality") else None
    if score is not None and not wrong.quality("quality", score):
        score = None
    stages = _read_stages(wrong, message)
    wrong.place = None
    return ItemUpdate(
        item_id=message.item_id,
        state=_ITEM_STATES.get(message.state, ItemState.PENDING),
        content_type=message.content_type,
        stages=stages,
        quality_micros=None if score is None else round(score * _MICRO),
        body=message.SerializeToString(),
    )


def _read_stages(wrong: Violations, message: pb.ItemUpdate) -> tuple[StageSpan, ...]:
    stages = message.stages
    if len(stages) > MAX_STAGES:
        wrong.add("stages", f"must hold at most {MAX_STAGES}, holds {len(stages)}")
    spans = []
    for index, each in enumerate(stages):
        stage = each.stage
        if not stage or len(stage) * _MAX_UTF8_BYTES > MAX_NAME_BYTES:
            _check_stage(wrong, f"stages[{index}].stage", stage)
        micros = micros_of(each.duration)
        if micros is None:
            wrong.duration(f"stages[{index}].duration")
        spans.append(StageSpan(stage, micros or 0))
    return tuple(spans)


def _check_stage(wrong: Violations, field: str, stage: str) -> None:
    if not stage:
        wrong.add(field, "is required")
    wrong.text(field, stage, MAX_NAME_BYTES)


def _check_item(wrong: Violations, message: pb.ItemUpdate) -> None:
    wrong.name("item_id", message.item_id)
    if message.state not in _ITEM_STATES:
        wrong.add("state", "is required and a known state")
    wrong.text("content_type", message.content_type, MAX_NAME_BYTES)
    wrong.text("error_reason", message.error_reason, MAX_NAME_BYTES)
    wrong.text("error_message", message.error_message, MAX_MESSAGE_BYTES)
    for name in _ITEM_FIGURES:
        wrong.figure(name, getattr(message, name))


def read_job_id(job_id: str) -> str:
    """Return a job id that can exist.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the field.
    """
    wrong = Violations()
    wrong.name("job_id", job_id)
    wrong.check()
    return job_id


def read_filter(message: pb.ProgressFilter) -> JobFilter:
    """Return which jobs are asked for.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    wrong = Violations()
    if message.state not in _JOB_STATES:
        wrong.add("filter.state", "is not a known state")
    if message.priority not in _PRIORITIES:
        wrong.add("filter.priority", "is not a known priority")
    if message.label_value and not message.label_key:
        wrong.add("filter.label_value", "needs filter.label_key")
    wrong.text("filter.user", message.user, 128)
    wrong.text("filter.label_key", message.label_key, MAX_LABEL_KEY_BYTES)
    wrong.text("filter.label_value", message.label_value, MAX_LABEL_VALUE_BYTES)
    wrong.check()
    return JobFilter(
        user=message.user,
        state=_JOB_STATES[message.state],
        priority=_PRIORITIES[message.priority],
        label_key=message.label_key,
        label_value=message.label_value,
    )


def read_watch(message: pb.WatchProgressRequest, tenant: str) -> EventWatch | Pace:
    """Return what a watch asks for: events of a job, or snapshots at a pace.

    Raises:
        ServiceError: INVALID_ARGUMENT naming every bad field.
    """
    wrong = Violations()
    target = message.WhichOneof("target")
    if target is None:
        wrong.add("target", "is required: job_id or filter")
    if target == "job_id":
        wrong.name("job_id", message.job_id)
    if message.mode not in (pb.WATCH_MODE_UNSPECIFIED, pb.WATCH_MODE_EVENTS, pb.WATCH_MODE_SNAPSHOTS):
        wrong.add("mode", "is not a known mode")
    if message.mode == pb.WATCH_MODE_EVENTS and target == "filter":
        wrong.add("filter", "can be watched in SNAPSHOTS mode only; EVENTS needs job_id")
    idle_s = _DEFAULT_IDLE_S
    if message.HasField("idle_interval"):
        idle_s = wrong.seconds("idle_interval", message.idle_interval, least=1, most=300)
    least_s = _DEFAULT_MIN_INTERVAL_S
    if message.HasField("min_interval"):
        least_s = wrong.seconds("min_interval", message.min_interval, least=0.02, most=60)
    wrong.check()
    if message.mode != pb.WATCH_MODE_EVENTS:
        return Pace(least_s=least_s, idle_s=idle_s)
    return EventWatch(
        tenant=tenant,
        job_id=message.job_id,
        resume_token=message.resume_token,
        idle_s=idle_s,
        wait_for_job=message.wait_for_job,
    )
