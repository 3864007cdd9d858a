"""From domain values to messages; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from contentfactory.tracker.v1 import tracker_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from service_common.errors import ServiceError
from service_common.rpc.fields import Fields
from service_common.rpc.status import to_status

from progress_tracker.ledger import Outcome
from progress_tracker.progress import JobProgress
from progress_tracker.report import ItemState, ItemUpdate, JobUpdate, QueueStanding, Totals

_MICRO = 1_000_000
_NANOS_OF_MICRO = 1000


class EventMessages:
    """Encodes events as `ProgressEvent`, and reads the items of encoded ones."""

    def job_event(self, sequence: int, time: datetime, update: JobUpdate) -> bytes:
        """Return the event that says what changed about the job."""
        message = pb.ProgressEvent(sequence=sequence, event_time=_stamp(time), job=job_update(update))
        return message.SerializeToString()

    def item_event(self, sequence: int, time: datetime, update: ItemUpdate) -> bytes:
        """Return the event that says how an item is."""
        fields = _stamp_fields(time)
        message = pb.ProgressEvent(sequence=sequence, **fields)
        message.item.MergeFromString(update.body)
        return message.SerializeToString()

    def read_items(self, events: Sequence[bytes]) -> list[tuple[str, ItemState]]:
        """Return the items of events with their states, in order."""
        messages = map(pb.ProgressEvent.FromString, events)
        return [
            (message.item.item_id, ItemState(message.item.state))
            for message in messages
            if message.HasField("item")
        ]


def job_update(update: JobUpdate) -> pb.JobUpdate:
    """Return what is said about a job."""
    return pb.JobUpdate(
        state=pb.JobState.ValueType(update.state),
        display_name=update.display_name,
        user=update.user,
        priority=pb.JobPriority.ValueType(update.priority),
        labels=dict(update.labels),
        item_count=update.item_count,
        items_by_content_type=dict(update.items_by_content_type),
        create_time=_optional_stamp(update.create_time),
        start_time=_optional_stamp(update.start_time),
        finish_time=_optional_stamp(update.finish_time),
        message=update.message,
    )


def job_progress(progress: JobProgress) -> pb.JobProgress:
    """Return a snapshot."""
    message = pb.JobProgress(
        job_id=progress.job_id,
        state=pb.JobState.ValueType(progress.state),
        display_name=progress.display_name,
        user=progress.user,
        priority=pb.JobPriority.ValueType(progress.priority),
        labels=dict(progress.labels),
        item_count=progress.item_count,
        totals=_totals(progress.totals),
        stages=[
            pb.StageProgress(stage=each.stage, items=each.items, total_duration=_duration(each.micros))
            for each in progress.stages
        ],
        content_types=[pb.ContentTypeProgress(**each._asdict()) for each in progress.content_types],
        mean_quality=progress.mean_quality,
        fraction_done=progress.fraction_done,
        items_per_second=progress.items_per_second,
        last_sequence=progress.last_sequence,
        create_time=_optional_stamp(progress.create_time),
        start_time=_optional_stamp(progress.start_time),
        finish_time=_optional_stamp(progress.finish_time),
        update_time=_optional_stamp(progress.update_time),
        message=progress.message,
    )
    if progress.queue is not None:
        message.queue.CopyFrom(_standing(progress.queue))
    if progress.eta is not None:
        message.eta.FromTimedelta(progress.eta)
    return message


def snapshots_frame(progress: Sequence[JobProgress]) -> bytes:
    """Return the frame that carries snapshots, serialised."""
    return pb.WatchProgressResponse(snapshots=[job_progress(each) for each in progress]).SerializeToString()


def report_response(outcomes: Sequence[Outcome]) -> pb.BatchReportProgressResponse:
    """Return the answers to reports."""
    fields: Fields = {"results": [_result(each) for each in outcomes]}
    return pb.BatchReportProgressResponse(**fields)


def _result(outcome: Outcome) -> Fields:
    if isinstance(outcome, ServiceError):
        return {"error": to_status(outcome)}
    return {"value": {"durable_sequence": outcome.durable_sequence, "duplicate": outcome.duplicate}}


def _standing(standing: QueueStanding) -> pb.QueueStanding:
    return pb.QueueStanding(
        position=standing.position,
        priority=pb.JobPriority.ValueType(standing.priority),
        waiting_since=_optional_stamp(standing.waiting_since),
    )


def _totals(totals: Totals) -> pb.ProducerTotals:
    return pb.ProducerTotals(**totals._asdict())


def _duration(micros: int) -> Duration:
    return Duration(seconds=micros // _MICRO, nanos=micros % _MICRO * _NANOS_OF_MICRO)


@lru_cache(maxsize=64)
def _stamp_fields(time: datetime) -> Fields:
    """Return the field of an event's time; those of one report have the same."""
    stamp = _stamp(time)
    return {"event_time": {"seconds": stamp.seconds, "nanos": stamp.nanos}}


def _stamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _optional_stamp(time: datetime | None) -> Timestamp | None:
    return None if time is None else _stamp(time)
