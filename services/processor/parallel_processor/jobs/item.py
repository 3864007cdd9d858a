"""Items of a job: what their owner asked for, and how they ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime
from enum import IntEnum

from service_common.frozen import dataclass

from parallel_processor.jobs.piece import NO_LABELS, Piece, PieceError, PieceSpec, Usage


class ItemState(IntEnum):
    """Where an item is; the numbers are stored."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    SKIPPED = 5
    CANCELLED = 6

    @property
    def terminal(self) -> bool:
        """Whether it is finished, with content or without."""
        return self >= ItemState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Dependency:
    """An item whose content is needed first, and the variable that receives it."""

    item_id: str
    variable: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item as its owner describes it.

    Attributes:
        item_id: Unique within the job.
        spec: What to generate.
        depends_on: Items whose content it uses.
        labels: Free facts that come back with the result.
    """

    item_id: str
    spec: PieceSpec
    depends_on: tuple[Dependency, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an item ended.

    Attributes:
        item_id: The item.
        state: A terminal state.
        finish_time: When.
        piece: Its content; None unless it succeeded.
        error: Why there is none; None if it succeeded.
        attempts: How often the model was called for it.
        stages: Seconds spent in each stage, in order.
        usage: What the item itself took.
        labels: The item's labels.
    """

    item_id: str
    state: ItemState
    finish_time: datetime
    piece: Piece | None = None
    error: PieceError | None = None
    attempts: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Items by state.

    Attributes:
        pending: Waiting.
        running: Being worked on.
        succeeded: Finished with content.
        failed: Finished without content.
        skipped: Not worked on for want of a dependency.
        cancelled: Cancelled.
        cached: Of the succeeded, those that needed no model call.
    """

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    cached: int = 0

    @property
    def finished(self) -> int:
        """Items in a terminal state."""
        return self.succeeded + self.failed + self.skipped + self.cancelled

    def __add__(self, other: ItemCounts) -> ItemCounts:
        return ItemCounts(
            self.pending + other.pending,
            self.running + other.running,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.cancelled + other.cancelled,
            self.cached + other.cached,
        )


def count_states(states: bytes, *, cached: int, running: int) -> ItemCounts:
    """Count items by state.

    Args:
        states: One `ItemState` number per item.
        cached: How many of the succeeded needed no model call.
        running: How many of the unfinished are with the model.
    """
    tally = {state: states.count(int(state)) for state in ItemState}
    return ItemCounts(
        pending=tally[ItemState.PENDING] + tally[ItemState.RUNNING] - running,
        running=running,
        succeeded=tally[ItemState.SUCCEEDED],
        failed=tally[ItemState.FAILED],
        skipped=tally[ItemState.SKIPPED],
        cancelled=tally[ItemState.CANCELLED],
        cached=cached,
    )


def total_usage(outcomes: Iterable[Outcome]) -> Usage:
    """Sum what items took."""
    total = Usage()
    for outcome in outcomes:
        total += outcome.usage
    return total
