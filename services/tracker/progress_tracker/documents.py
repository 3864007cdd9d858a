"""How progress, producers and events look as documents, and back; pure.

Maps with free keys are kept as two lists, because field names are restricted and texts are not.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service_common.storage import Value

from progress_tracker.frames import join_events, split_events
from progress_tracker.job_log import Chunk
from progress_tracker.producers import ProducerPage
from progress_tracker.progress import JobProgress, ProgressFold
from progress_tracker.rate import RateWindow
from progress_tracker.report import JobPriority, JobState, JobUpdate, QueueStanding, Totals

_TOTALS = struct.Struct(f">{len(Totals._fields)}q")

Fields = dict[str, Value]


def progress_fields(fold: ProgressFold, progress: JobProgress, *, now: datetime, expire: datetime) -> Fields:
    """Return the fields of a job's document.

    Args:
        fold: What to keep.
        progress: The same as a snapshot; gives the fields that queries filter by.
        now: The time of the commit.
        expire: When it may be forgotten.
    """
    return {
        "job_id": fold.job_id,
        "log_id": fold.log_id,
        "revision": fold.revision,
        "state": int(progress.state),
        "user": progress.user,
        "priority": int(progress.priority),
        "listed_time": progress.create_time or fold.update_time or now,
        "written_time": now,
        "expire_time": expire,
        "about": _about_fields(fold.about),
        "totals": list(fold.totals),
        "stage_names": list(fold.stages),
        "stage_figures": [figure for each in fold.stages.values() for figure in each],
        "content_type_names": list(fold.content_types),
        "content_type_figures": [figure for each in fold.content_types.values() for figure in each],
        "quality_sum": fold.quality_sum,
        "quality_count": fold.quality_count,
        "rate": _rate_fields(fold.rate),
        "last_sequence": fold.last_sequence,
        "items_ended": fold.items_ended,
        "update_time": fold.update_time,
        "queue": None
        if fold.queue is None
        else fold.queue._asdict() | {"priority": int(fold.queue.priority)},
    }


def _about_fields(about: JobUpdate) -> Fields:
    return {
        "display_name": about.display_name,
        "priority": int(about.priority),
        "label_keys": list(about.labels),
        "label_values": list(about.labels.values()),
        "item_count": about.item_count,
        "content_types": list(about.items_by_content_type),
        "content_type_items": list(about.items_by_content_type.values()),
        "create_time": about.create_time,
        "start_time": about.start_time,
        "finish_time": about.finish_time,
        "message": about.message,
    }


def _rate_fields(rate: RateWindow) -> Fields:
    return {
        "first": rate.first,
        "latest": rate.latest,
        "seconds": list(rate.counts),
        "counts": list(rate.counts.values()),
    }


def read_progress(data: Mapping[str, Any]) -> ProgressFold:
    """Return what a job's document says."""
    rate = data["rate"]
    return ProgressFold(
        job_id=data["job_id"],
        log_id=data["log_id"],
        revision=data["revision"],
        about=_read_about(data),
        totals=Totals(*data["totals"]),
        stages=_read_figures(data["stage_names"], data["stage_figures"]),
        content_types=_read_figures(data["content_type_names"], data["content_type_figures"]),
        quality_sum=data["quality_sum"],
        quality_count=data["quality_count"],
        rate=RateWindow(
            first=rate["first"],
            latest=rate["latest"],
            counts=dict(zip(rate["seconds"], rate["counts"], strict=True)),
        ),
        last_sequence=data["last_sequence"],
        items_ended=data["items_ended"],
        update_time=data["update_time"],
        queue=_read_standing(data.get("queue")),
    )


def _read_standing(data: Mapping[str, Any] | None) -> QueueStanding | None:
    return QueueStanding(**{**data, "priority": JobPriority(data["priority"])}) if data else None


def _read_about(data: Mapping[str, Any]) -> JobUpdate:
    about = data["about"]
    return JobUpdate(
        state=JobState(data["state"]),
        display_name=about["display_name"],
        user=data["user"],
        priority=JobPriority(about["priority"]),
        labels=dict(zip(about["label_keys"], about["label_values"], strict=True)),
        item_count=about["item_count"],
        items_by_content_type=dict(zip(about["content_types"], about["content_type_items"], strict=True)),
        create_time=about["create_time"],
        start_time=about["start_time"],
        finish_time=about["finish_time"],
        message=about["message"],
    )


def _read_figures(names: list[str], figures: list[int]) -> dict[str, tuple[int, int]]:
    pairs = zip(figures[::2], figures[1::2], strict=True)
    return dict(zip(names, pairs, strict=True))


def page_fields(page: ProducerPage, *, expire: datetime) -> Fields:
    """Return the fields of a page of producers."""
    return {
        "ids": list(page.ids),
        "sequences": list(page.sequences),
        "totals": b"".join(_TOTALS.pack(*each) for each in page.totals),
        "expire_time": expire,
    }


def read_page(number: int, data: Mapping[str, Any]) -> ProducerPage:
    """Return what a page's document says."""
    totals = tuple(Totals(*each) for each in _TOTALS.iter_unpack(data["totals"]))
    return ProducerPage(number, tuple(data["ids"]), tuple(data["sequences"]), totals)


def chunk_fields(job_id: str, chunk: Chunk, *, expire: datetime) -> Fields:
    """Return the fields of a chunk of events."""
    return {
        "job_id": job_id,
        "first_sequence": chunk.first,
        "body": join_events(chunk.events),
        "expire_time": expire,
    }


def read_chunk(data: Mapping[str, Any]) -> Chunk:
    """Return what a chunk's document says."""
    return Chunk(data["first_sequence"], tuple(split_events(data["body"])))
