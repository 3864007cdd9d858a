"""A job at one moment, whoever told it: the tracker in detail, or the processor in totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

FINAL_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class TypeProgress:
    """How far one content type has come.

    Attributes:
        content_type: Which.
        total: Its items.
        finished: Those that are finished, with content or without.
        succeeded: Those with content.
    """

    content_type: str
    total: int
    finished: int
    succeeded: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage takes.

    Attributes:
        stage: Its name.
        items: Items that have passed it.
        mean_s: Seconds per item.
    """

    stage: str
    items: int
    mean_s: float


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job's progress.

    Attributes:
        job_id: Which job.
        state: Its state, as the contract names it without prefix.
        source: Who told: "tracker" or "processor".
        name: Its title.
        total: Its items.
        succeeded: Items with content.
        failed: Items without.
        skipped: Items not worked on for want of another.
        cancelled: Items cancelled.
        running: Items being worked on.
        cached: Of the succeeded, those without a model call.
        prompt_tokens: Tokens of the prompts of its model calls.
        output_tokens: Tokens of their outputs.
        cost_micros: What they cost.
        uncertain_micros: The most that calls of unknown fate may have cost.
        reserved_micros: The most that calls may still cost that are out.
        cap_micros: The most it may cost; None without a cap, or when not known.
        model_calls: Its model calls.
        items_per_second: Items finished per second of late; None when not known.
        eta_s: Seconds to the end at that rate; None when not known.
        mean_quality: 0 to 1; None before anything was scored.
        started_at: When it was started.
        finished_at: When it finished.
        types: Progress by content type; empty when not known.
        stages: Times by stage; empty when not known.
        message: Why it is in its state.
    """

    job_id: str
    state: str
    source: str
    name: str = ""
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    running: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    uncertain_micros: int = 0
    reserved_micros: int = 0
    cap_micros: int | None = None
    model_calls: int = 0
    items_per_second: float | None = None
    eta_s: float | None = None
    mean_quality: float | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    types: tuple[TypeProgress, ...] = ()
    stages: tuple[StageTime, ...] = ()
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Items that are finished, with content or without."""
        return self.succeeded + self.failed + self.skipped + self.cancelled

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL_STATES

    @property
    def duration(self) -> timedelta | None:
        """The job's own duration, from its start to its finish; None while it is not finished."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at
