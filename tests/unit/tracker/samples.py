"""Reports and encoders the tracker's tests are made of."""

from __future__ import annotations

from datetime import UTC, datetime

from progress_tracker.convert import EventMessages
from progress_tracker.job_log import JobLog
from progress_tracker.progress import JobProgress, ProgressFold
from progress_tracker.report import ItemState, ItemUpdate, JobUpdate, QueueStanding, Report, StageSpan, Totals

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def item(
    item_id: str, state: ItemState = ItemState.SUCCEEDED, *, quality: int | None = 500_000
) -> ItemUpdate:
    """Return an update of a flashcards item that took a second to generate."""
    return ItemUpdate(
        item_id=item_id,
        state=state,
        content_type="flashcards",
        stages=(StageSpan("generate", 1_000_000),) if state.is_terminal else (),
        quality_micros=quality if state is ItemState.SUCCEEDED else None,
        body=b"\x0a" + bytes((len(item_id),)) + item_id.encode() + b"\x10" + bytes((state,)),
    )


def report(
    sequence: int,
    *items: ItemUpdate,
    producer: str = "shard-0",
    totals: Totals | None = None,
    job: JobUpdate | None = None,
    time: datetime = NOW,
    queue: QueueStanding | None = None,
) -> Report:
    """Return a report of one producer."""
    return Report(producer, sequence, time, job, totals, items, queue)


def new_log(job_id: str = "job") -> JobLog:
    """Return an empty log."""
    return JobLog(ProgressFold(job_id, "log"), EventMessages())


def progress(
    job_id: str = "job", *, revision: int = 1, log_id: str = "log", job: JobUpdate | None = None
) -> JobProgress:
    """Return a snapshot of a job of which little is known."""
    return ProgressFold(job_id, log_id, revision=revision, about=job or JobUpdate()).snapshot()
