"""One job's history: reports in, numbered events out, nothing twice; synchronous, durable once committed.

A `JobLog` runs ahead of the store by at most one commit. If that commit fails, the log is thrown away and
read again: there is no undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from progress_tracker.producers import ProducerPage, Producers
from progress_tracker.progress import JobProgress, ProgressFold
from progress_tracker.report import Acknowledgement, ItemState, ItemUpdate, JobUpdate, Report

CHUNK_EVENTS = 50
"""Events of one stored chunk: so few that the largest events the contract allows fit in one document."""


class EventEncoder(Protocol):
    """Turns an event into the bytes that are stored and sent."""

    def job_event(self, sequence: int, time: datetime, update: JobUpdate) -> bytes:
        """Return the event that says what changed about the job."""
        ...

    def item_event(self, sequence: int, time: datetime, update: ItemUpdate) -> bytes:
        """Return the event that says how an item is."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored run of events.

    Attributes:
        first: The number of its first event.
        events: The events, encoded.
    """

    first: int
    events: tuple[bytes, ...]

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.first + len(self.events) - 1

    @property
    def is_full(self) -> bool:
        """Whether the next event belongs to the next chunk."""
        return self.last % CHUNK_EVENTS == 0

    def after(self, sequence: int) -> tuple[bytes, ...]:
        """Return its events with higher numbers."""
        return self.events[max(0, sequence + 1 - self.first) :]


def chunk_number(sequence: int) -> int:
    """Return the place, from 0, of the chunk that holds an event."""
    return (sequence - 1) // CHUNK_EVENTS


@dataclass(frozen=True, slots=True)
class LogChanges:
    """What one commit makes durable, together or not at all.

    Attributes:
        fold: The progress to store.
        progress: The same as a snapshot.
        chunks: Chunks to write, the last of them perhaps not full.
        pages: Producer pages to write.
        first_sequence: The number of the first new event.
        events: The new events.
        ended: The items among them that reached their end.
        item_events: How many of the events are about items.
    """

    fold: ProgressFold
    progress: JobProgress
    chunks: tuple[Chunk, ...]
    pages: tuple[ProducerPage, ...]
    first_sequence: int
    events: tuple[bytes, ...]
    ended: tuple[ItemUpdate, ...]
    item_events: int


class JobLog:
    """The working state of one job.

    Attributes:
        fold: Its progress.
        producers: Who has reported what.
        items: The last state of each item heard of.
    """

    __slots__ = (
        "_encoder",
        "_ended",
        "_item_events",
        "_new",
        "_tail",
        "_touched",
        "fold",
        "items",
        "producers",
    )

    def __init__(
        self,
        fold: ProgressFold,
        encoder: EventEncoder,
        *,
        producers: Producers | None = None,
        items: dict[str, ItemState] | None = None,
        tail: Chunk | None = None,
    ) -> None:
        """Take up a log where its documents left it.

        Args:
            fold: Its progress.
            encoder: Makes events.
            producers: Who has reported.
            items: The items' states.
            tail: The last chunk, if it is kept and not full.
        """
        self._encoder = encoder
        self._tail = tail
        self._new: list[bytes] = []
        self._ended: list[ItemUpdate] = []
        self._item_events = 0
        self._touched = False
        self.fold = fold
        self.producers = producers or Producers()
        self.items = items if items is not None else {}

    def apply(self, report: Report, now: datetime) -> Acknowledgement:
        """Take in a report.

        Args:
            report: The report.
            now: The time of arrival; a producer's clock that runs ahead of it does not stretch the rate.

        Returns:
            What to answer once the changes are durable.

        Raises:
            ServiceError: RESOURCE_EXHAUSTED for too many producers; nothing has changed.
        """
        last = self.producers.sequence(report.producer_id)
        if report.sequence <= last:
            return Acknowledgement(last, duplicate=True)
        before = self.producers.advance(report.producer_id, report.sequence, report.totals)
        self._touched = True
        if report.job is not None:
            self._apply_job(report.job, report.time)
        second = int(min(report.time, now).timestamp())
        self.fold.apply_totals(before, before if report.totals is None else report.totals, second)
        if report.queue is not None:
            self.fold.apply_standing(report.queue)
        for item in report.items:
            self._apply_item(item, report.time)
        return Acknowledgement(report.sequence, duplicate=False)

    def _apply_job(self, update: JobUpdate, time: datetime) -> None:
        news = self.fold.apply_job(update)
        if news is not None:
            self._append(self._encoder.job_event(self._next(), time, news))

    def _apply_item(self, update: ItemUpdate, time: datetime) -> None:
        before = self.items.get(update.item_id)
        if before is not None and not before.may_become(update.state):
            return
        self.items[update.item_id] = update.state
        self._append(self._encoder.item_event(self._next(), time, update))
        self._item_events += 1
        if update.state.is_terminal:
            self.fold.apply_end(update, again=before is not None and before.is_terminal)
            self._ended.append(update)

    def _next(self) -> int:
        return self.fold.last_sequence + 1

    def _append(self, event: bytes) -> None:
        self._new.append(event)
        self.fold.last_sequence += 1

    def take_changes(self, now: datetime) -> LogChanges | None:
        """Return what has changed since the last call, as of the commit's time; None when nothing has."""
        if not self._touched:
            return None
        events, ended, item_events = tuple(self._new), tuple(self._ended), self._item_events
        self._new, self._ended, self._item_events, self._touched = [], [], 0, False
        if events:
            self.fold.update_time = now
        self.fold.revision += 1
        return LogChanges(
            fold=self.fold,
            progress=self.fold.snapshot(),
            chunks=tuple(self._chunks(events)),
            pages=tuple(self.producers.take_changed()),
            first_sequence=self.fold.last_sequence - len(events) + 1,
            events=events,
            ended=ended,
            item_events=item_events,
        )

    def _chunks(self, events: tuple[bytes, ...]) -> list[Chunk]:
        first = self.fold.last_sequence - len(events) + 1
        if events and self._tail is not None:
            first, events = self._tail.first, self._tail.events + events
        chunks: list[Chunk] = []
        while events:
            size = CHUNK_EVENTS - (first - 1) % CHUNK_EVENTS
            chunks.append(Chunk(first, events[:size]))
            first, events = first + size, events[size:]
        if chunks:
            self._tail = None if chunks[-1].is_full else chunks[-1]
        return chunks
