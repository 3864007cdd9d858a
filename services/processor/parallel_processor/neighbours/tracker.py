"""The progress tracker as a neighbour: jobs and outcomes become its reports.

Reports are made of fields, not of messages: see `Fields`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from contentfactory.tracker.v1 import tracker_pb2, tracker_pb2_grpc
from service_common.rpc.client import ClientPool
from service_common.rpc.fields import Fields
from service_common.rpc.times import duration_fields, timestamp

from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.piece import Usage
from parallel_processor.neighbours.acting import Acting
from parallel_processor.queueing.standing import Standing
from parallel_processor.running.ports import Owner
from parallel_processor.running.reporting import Report

Pool: TypeAlias = "ClientPool[tracker_pb2_grpc.TrackerServiceAsyncStub]"
_TIMEOUT_S = 5.0
_MAX_MESSAGE = 1024
_MAX_CONTENT_TYPES = 64

_JOB_STATES = {
    JobState.DRAFT: tracker_pb2.JOB_STATE_DRAFT,
    JobState.QUEUED: tracker_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: tracker_pb2.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: tracker_pb2.JOB_STATE_SUCCEEDED,
    JobState.PARTIALLY_SUCCEEDED: tracker_pb2.JOB_STATE_PARTIALLY_SUCCEEDED,
    JobState.FAILED: tracker_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: tracker_pb2.JOB_STATE_CANCELLED,
    JobState.PAUSED: tracker_pb2.JOB_STATE_PAUSED,
}
_ITEM_STATES = {
    ItemState.PENDING: tracker_pb2.ITEM_STATE_PENDING,
    ItemState.RUNNING: tracker_pb2.ITEM_STATE_RUNNING,
    ItemState.SUCCEEDED: tracker_pb2.ITEM_STATE_SUCCEEDED,
    ItemState.FAILED: tracker_pb2.ITEM_STATE_FAILED,
    ItemState.SKIPPED: tracker_pb2.ITEM_STATE_SKIPPED,
    ItemState.CANCELLED: tracker_pb2.ITEM_STATE_CANCELLED,
}


class TrackerNeighbour:
    """Calls the tracker; see `TrackerPort`."""

    def __init__(self, pool: Pool, acting: Acting) -> None:
        self._pool = pool
        self._acting = acting

    async def report(self, owner: Owner, reports: Sequence[Report]) -> list[bool]:
        """Send reports; returns, in order, which of them the tracker has made durable."""
        durable: dict[int, bool] = {}
        by_replica: dict[str, list[int]] = defaultdict(list)
        for index, each in enumerate(reports):
            by_replica[self._pool.target_for(each.job_id.encode())].append(index)
        for part in by_replica.values():
            fields: Fields = {"reports": [_report(reports[i]) for i in part]}
            request = tracker_pb2.BatchReportProgressRequest(**fields)
            response = await self._pool.call(
                lambda stub: stub.BatchReportProgress,
                request,
                timeout_s=_TIMEOUT_S,
                key=reports[part[0]].job_id.encode(),
                act_as=self._acting.as_owner(owner),
                idempotent=True,
            )
            for index, result in zip(part, response.results, strict=True):
                durable[index] = result.HasField("value")
        return [durable[index] for index in range(len(reports))]


def _report(report: Report) -> Fields:
    fields: Fields = {
        "job_id": report.job_id,
        "producer_id": report.producer,
        "producer_sequence": report.sequence,
        "report_time": timestamp(report.time),
        "items": [_item(each) for each in report.outcomes.values()],
    }
    if report.job is not None:
        fields["job"] = _job(report.job)
    if report.queue is not None:
        fields["queue"] = _standing(report.queue)
    if report.counts is not None:
        fields["totals"] = _totals(report.counts, report.usage)
    return fields


def _standing(standing: Standing) -> tracker_pb2.QueueStanding:
    return tracker_pb2.QueueStanding(
        position=standing.position,
        priority=tracker_pb2.JobPriority.ValueType(int(standing.priority)),
        waiting_since=timestamp(standing.waiting_since),
    )


def _job(job: Job) -> tracker_pb2.JobUpdate:
    return tracker_pb2.JobUpdate(
        state=_JOB_STATES[job.state],
        display_name=job.display_name,
        user=job.user,
        priority=tracker_pb2.JobPriority.ValueType(int(job.priority)),
        labels=job.labels,
        item_count=job.item_count,
        items_by_content_type=_largest(job.items_by_content_type),
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        finish_time=timestamp(job.finish_time),
        message=_cut(job.state_reason.message) if job.state_reason else "",
    )


def _largest(by_content_type: Mapping[str, int]) -> dict[str, int]:
    """Return the most frequent content types, as many as a report may name."""
    ranked = sorted(by_content_type.items(), key=lambda each: -each[1])
    return dict(ranked[:_MAX_CONTENT_TYPES])


def _totals(counts: ItemCounts, usage: Usage) -> tracker_pb2.ProducerTotals:
    return tracker_pb2.ProducerTotals(
        succeeded=counts.succeeded,
        failed=counts.failed,
        skipped=counts.skipped,
        cancelled=counts.cancelled,
        running=counts.running,
        cached=counts.cached,
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        uncertain_spend_micros=usage.uncertain_spend_micros,
        model_calls=usage.model_calls,
    )


def _item(outcome: Outcome) -> Fields:
    fields: Fields = {
        "item_id": outcome.item_id,
        "state": _ITEM_STATES[outcome.state],
        "attempts": outcome.attempts,
        "stages": [
            {"stage": stage, "duration": duration_fields(seconds)}
            for stage, seconds in outcome.stages.items()
        ],
    }
    if outcome.piece is not None:
        piece = outcome.piece
        fields["content_type"] = piece.content_type
        fields["cached"] = piece.cached
        fields["prompt_tokens"] = piece.prompt_tokens
        fields["output_tokens"] = piece.output_tokens
        fields["cost_micros"] = 0 if piece.cached else piece.cost_micros
        fields["quality"] = piece.quality
    if outcome.error is not None:
        fields["error_reason"] = outcome.error.reason
        fields["error_message"] = _cut(outcome.error.message)
    return fields


def _cut(text: str) -> str:
    return text.encode()[:_MAX_MESSAGE].decode(errors="ignore")
