"""What producers say: a report's values, with the numbers of the contract, which are also the stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from service_common.frozen import dataclass


class JobState(IntEnum):
    """Where a job is."""

    UNKNOWN = 0
    DRAFT = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    PARTIALLY_SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7
    PAUSED = 8

    @property
    def is_terminal(self) -> bool:
        """Whether the job is over, for good unless its failed items are run again."""
        return JobState.SUCCEEDED <= self <= JobState.CANCELLED

    def may_become(self, other: JobState) -> bool:
        """Tell whether this state may be followed by the other.

        Forward, but for a pause that ends and for failed items that are run again.
        """
        if self is JobState.PAUSED or other is JobState.PAUSED:
            return other > JobState.DRAFT and other is not self and not self.is_terminal
        if self in (JobState.PARTIALLY_SUCCEEDED, JobState.FAILED):
            return other is JobState.RUNNING
        return not self.is_terminal and other > self


class ItemState(IntEnum):
    """Where an item is."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    SKIPPED = 5
    CANCELLED = 6

    @property
    def is_terminal(self) -> bool:
        """Whether the item is over, for good unless it has no content and is run again."""
        return self >= ItemState.SUCCEEDED

    def may_become(self, other: ItemState) -> bool:
        """Tell whether this state may be followed by the other.

        An item that ended without content may be run again; what is heard of it then is how it ends.
        """
        if self.is_terminal:
            return self is not ItemState.SUCCEEDED and other is ItemState.SUCCEEDED
        return other is not self


class JobPriority(IntEnum):
    """How urgent a job is."""

    UNKNOWN = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """What is said about a job as a whole; what is unknown, empty, 0 or None says nothing.

    Attributes:
        state: Its state.
        display_name: A title for people.
        user: Who owns it.
        priority: How urgent it is.
        labels: Labels for filtering.
        item_count: How many items it has.
        items_by_content_type: How many items it has of each content type.
        create_time: When it was created.
        start_time: When it was started.
        finish_time: When it finished.
        message: Why it is in its state.
    """

    state: JobState = JobState.UNKNOWN
    display_name: str = ""
    user: str = ""
    priority: JobPriority = JobPriority.UNKNOWN
    labels: Mapping[str, str] = field(default_factory=dict)
    item_count: int = 0
    items_by_content_type: Mapping[str, int] = field(default_factory=dict)
    create_time: datetime | None = None
    start_time: datetime | None = None
    finish_time: datetime | None = None
    message: str = ""


class StageSpan(NamedTuple):
    """How long one stage of an item took."""

    stage: str
    micros: int


@dataclass(frozen=True, slots=True)
class ItemUpdate:
    """What is said about an item, as far as progress is computed from it.

    Attributes:
        item_id: The item.
        state: Its state now.
        content_type: The content type of its output; may be empty.
        stages: How long each stage took.
        quality_micros: Its quality in millionths, so that sums do not depend on order; None if not scored.
        body: All of it as its watchers will read it; opaque here.
    """

    item_id: str
    state: ItemState
    content_type: str
    stages: tuple[StageSpan, ...]
    quality_micros: int | None
    body: bytes


class Totals(NamedTuple):
    """What a producer has finished so far, or the sum over producers."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    running: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    uncertain_spend_micros: int = 0
    model_calls: int = 0

    @property
    def finished(self) -> int:
        """Items over for good, with content or without."""
        return self.succeeded + self.failed + self.skipped + self.cancelled

    def replaced(self, before: Totals, after: Totals) -> Totals:
        """Return this sum with one producer's share replaced."""
        return Totals(*(total - old + new for total, old, new in zip(self, before, after, strict=True)))


NO_TOTALS = Totals()


class QueueStanding(NamedTuple):
    """Where a job stands in the queue.

    Attributes:
        time: When it was so; of two standings the later one holds.
        position: Its place among the jobs that wait, from 1.
        priority: The priority by which it waits.
        waiting_since: Since when its longest waiting item has waited; None if that is not said.
    """

    time: datetime
    position: int
    priority: JobPriority
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one producer about one job.

    Attributes:
        producer_id: The part of the job that reports.
        sequence: Its number, above that of the producer's earlier ones.
        time: When it happened, by the producer's clock.
        job: What changed about the job; None for nothing.
        totals: Everything the producer has finished; None for unchanged.
        items: The items that changed.
        queue: Where the job stands in the queue; None for unchanged.
    """

    producer_id: str
    sequence: int
    time: datetime
    job: JobUpdate | None = None
    totals: Totals | None = None
    items: tuple[ItemUpdate, ...] = ()
    queue: QueueStanding | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it adds to a commit."""
        return 256 + sum(len(each.body) for each in self.items)


class Acknowledgement(NamedTuple):
    """A report is durable.

    Attributes:
        durable_sequence: The producer's highest durable number.
        duplicate: Whether the report was a repeat and ignored.
    """

    durable_sequence: int
    duplicate: bool
