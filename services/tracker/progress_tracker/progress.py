"""A job's progress, folded from its reports: the same reports give the same progress, in whatever order.

Promised for producers that each keep their own order: sums are exact integers, states go where they may, and
an item counts once, when it first reaches its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from progress_tracker.rate import RateWindow
from progress_tracker.report import (
    NO_TOTALS,
    ItemState,
    ItemUpdate,
    JobPriority,
    JobState,
    JobUpdate,
    QueueStanding,
    Totals,
)

OTHER = "other"
MAX_STAGES = 32
MAX_CONTENT_TYPES = 64
MAX_STAGE_MICROS = 315_576_000_000 * 1_000_000  # the longest duration the contract can carry
_MICRO = 1_000_000
_MAX_ETA_S = 10 * 365 * 86_400


class StageProgress(NamedTuple):
    """How far a stage has come."""

    stage: str
    items: int
    micros: int


class ContentTypeProgress(NamedTuple):
    """How far the items of one content type have come."""

    content_type: str
    total: int
    finished: int
    succeeded: int


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A durable snapshot of a job; the contract's comments say what each field means.

    Attributes beyond the contract:
        log_id: Names this history; another one under the same job id has another.
        revision: Counts the commits; a higher one is newer.
        items_ended: Items whose end is among the events.
    """

    job_id: str
    log_id: str
    revision: int
    state: JobState
    display_name: str
    user: str
    priority: JobPriority
    labels: Mapping[str, str]
    item_count: int
    totals: Totals
    stages: tuple[StageProgress, ...]
    content_types: tuple[ContentTypeProgress, ...]
    mean_quality: float | None
    fraction_done: float
    items_per_second: float
    eta: timedelta | None
    last_sequence: int
    items_ended: int
    create_time: datetime | None
    start_time: datetime | None
    finish_time: datetime | None
    update_time: datetime | None
    message: str
    queue: QueueStanding | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the job is over and all of its items are heard of: nothing is expected to follow."""
        return self.state.is_terminal and min(self.totals.finished, self.items_ended) >= self.item_count


@dataclass(frozen=True, slots=True)
class ProgressPage:
    """A page of snapshots and where the next begins."""

    progress: tuple[JobProgress, ...]
    next_cursor: str | None


@dataclass(slots=True)
class ProgressFold:
    """The state snapshots are made of; what a job's document holds.

    Attributes:
        stages: Items and microseconds, by stage, in the order first seen.
        content_types: Finished and succeeded items, by content type.
        quality_sum: Millionths, over the scored items.
    """

    job_id: str
    log_id: str
    revision: int = 0
    about: JobUpdate = field(default_factory=JobUpdate)
    totals: Totals = NO_TOTALS
    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    content_types: dict[str, tuple[int, int]] = field(default_factory=dict)
    quality_sum: int = 0
    quality_count: int = 0
    rate: RateWindow = field(default_factory=RateWindow)
    last_sequence: int = 0
    items_ended: int = 0
    update_time: datetime | None = None
    queue: QueueStanding | None = None

    def apply_job(self, update: JobUpdate) -> JobUpdate | None:
        """Take in what is said about the job.

        Returns:
            What of it is news; None when nothing is.
        """
        changes = {name: value for name, value in _said(update) if self._is_news(name, value)}
        if not changes:
            return None
        kept = dict(_said(self.about))
        if "state" in changes:
            kept.pop("message", None)  # it was the reason of the state before
            if not changes["state"].is_terminal:
                kept.pop("finish_time", None)
        self.about = JobUpdate(**{**kept, **changes})
        return JobUpdate(**changes)

    def _is_news(self, name: str, value: Any) -> bool:
        if name == "state":
            return self.about.state.may_become(value)
        return bool(getattr(self.about, name) != value)

    def apply_totals(self, before: Totals, after: Totals, second: int) -> None:
        """Replace one producer's share of the totals, as of a second of the calendar."""
        self.totals = self.totals.replaced(before, after)
        self.rate.add(second, after.finished - before.finished)

    def apply_standing(self, standing: QueueStanding) -> None:
        """Take in where the job stands in the queue; of two the later one holds, of equal times the lower."""
        if self.queue is None or (standing.time, -standing.position) > (
            self.queue.time,
            -self.queue.position,
        ):
            self.queue = standing

    def apply_end(self, update: ItemUpdate, *, again: bool = False) -> None:
        """Count an item that has just reached its end; one that was run again has been counted as ended."""
        self.items_ended += not again
        for stage, micros in update.stages:
            name = _bounded(stage, self.stages, MAX_STAGES)
            items, spent = self.stages.get(name, (0, 0))
            self.stages[name] = (items + 1, min(spent + micros, MAX_STAGE_MICROS))
        if update.content_type:
            name = _bounded(update.content_type, self.content_types, MAX_CONTENT_TYPES)
            finished, succeeded = self.content_types.get(name, (0, 0))
            self.content_types[name] = (finished + 1, succeeded + (update.state is ItemState.SUCCEEDED))
        if update.quality_micros is not None:
            self.quality_sum += update.quality_micros
            self.quality_count += 1

    def snapshot(self) -> JobProgress:
        """Return what is known now, as a value."""
        about = self.about
        per_second = self.rate.per_second()
        return JobProgress(
            job_id=self.job_id,
            log_id=self.log_id,
            revision=self.revision,
            state=about.state,
            display_name=about.display_name,
            user=about.user,
            priority=about.priority or JobPriority.NORMAL,
            labels=about.labels,
            item_count=about.item_count,
            totals=self.totals,
            stages=tuple(StageProgress(name, *each) for name, each in self.stages.items()),
            content_types=self._content_types(),
            mean_quality=self.quality_sum / self.quality_count / _MICRO if self.quality_count else None,
            fraction_done=min(1.0, self.totals.finished / about.item_count) if about.item_count else 0.0,
            items_per_second=per_second,
            eta=self._eta(per_second),
            last_sequence=self.last_sequence,
            items_ended=self.items_ended,
            create_time=about.create_time,
            start_time=about.start_time,
            finish_time=about.finish_time,
            update_time=self.update_time,
            message=about.message,
            queue=None if about.state.is_terminal else self.queue,
        )

    def _content_types(self) -> tuple[ContentTypeProgress, ...]:
        totals = self.about.items_by_content_type
        names = sorted({*totals, *self.content_types})
        return tuple(
            ContentTypeProgress(name, totals.get(name, 0), *self.content_types.get(name, (0, 0)))
            for name in names
        )

    def _eta(self, per_second: float) -> timedelta | None:
        left = self.about.item_count - self.totals.finished
        if self.about.state.is_terminal or left <= 0 or per_second <= 0:
            return None
        return timedelta(seconds=min(left / per_second, _MAX_ETA_S))


_SAID = tuple(each.name for each in fields(JobUpdate))


def _said(update: JobUpdate) -> list[tuple[str, Any]]:
    """Return the fields that say something."""
    return [(name, value) for name in _SAID if (value := getattr(update, name))]


def _bounded(name: str, known: Mapping[str, object], limit: int) -> str:
    return name if name in known or len(known) < limit else OTHER
