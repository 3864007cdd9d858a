"""From the contracts' messages to snapshots; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contentfactory.processor.v1 import processor_pb2
from contentfactory.tracker.v1 import tracker_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from factory_cli.progress.snapshot import JobSnapshot, StageTime, TypeProgress

_STATE_PREFIX = "JOB_STATE_"


def from_tracker(progress: tracker_pb2.JobProgress) -> JobSnapshot:
    """Read what the tracker says of a job."""
    totals = progress.totals
    return JobSnapshot(
        job_id=progress.job_id,
        state=tracker_pb2.JobState.Name(progress.state).removeprefix(_STATE_PREFIX),
        source="tracker",
        name=progress.display_name,
        total=progress.item_count,
        succeeded=totals.succeeded,
        failed=totals.failed,
        skipped=totals.skipped,
        cancelled=totals.cancelled,
        running=totals.running,
        cached=totals.cached,
        prompt_tokens=totals.prompt_tokens,
        output_tokens=totals.output_tokens,
        cost_micros=totals.cost_micros,
        uncertain_micros=totals.uncertain_spend_micros,
        model_calls=totals.model_calls,
        items_per_second=progress.items_per_second or None,
        eta_s=progress.eta.ToTimedelta().total_seconds() if progress.HasField("eta") else None,
        mean_quality=progress.mean_quality if progress.HasField("mean_quality") else None,
        started_at=_moment(progress, "start_time"),
        finished_at=_moment(progress, "finish_time"),
        types=tuple(
            TypeProgress(each.content_type, each.total, each.finished, each.succeeded)
            for each in progress.content_types
        ),
        stages=tuple(_stage(each) for each in progress.stages),
        message=progress.message,
        labels=dict(progress.labels),
    )


def from_processor(job: processor_pb2.Job) -> JobSnapshot:
    """Read what the processor says of a job."""
    counts, usage = job.counts, job.usage
    return JobSnapshot(
        job_id=job.job_id,
        state=processor_pb2.JobState.Name(job.state).removeprefix(_STATE_PREFIX),
        source="processor",
        name=job.display_name,
        total=counts.total,
        succeeded=counts.succeeded,
        failed=counts.failed,
        skipped=counts.skipped,
        cancelled=counts.cancelled,
        running=counts.running,
        cached=counts.cached,
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        uncertain_micros=usage.uncertain_spend_micros,
        reserved_micros=job.reserved_micros,
        cap_micros=job.terms.max_cost_micros if job.terms.HasField("max_cost_micros") else None,
        model_calls=usage.model_calls,
        started_at=_moment(job, "start_time"),
        finished_at=_moment(job, "finish_time"),
        message=job.state_reason.message,
        labels=dict(job.labels),
    )


def _stage(stage: tracker_pb2.StageProgress) -> StageTime:
    total_s = stage.total_duration.ToTimedelta().total_seconds()
    return StageTime(stage.stage, stage.items, total_s / stage.items if stage.items else 0.0)


def _moment(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)
