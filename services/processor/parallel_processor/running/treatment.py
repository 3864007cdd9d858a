"""What trouble means for the piece, its lane and its job: one table says it, one layer repeats calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from service_common.clock import Clock

from parallel_processor.jobs.job import StateReason
from parallel_processor.jobs.piece import PieceError, Usage
from parallel_processor.model.failures import FailureClass, ModelFailure
from parallel_processor.running.error_class import ErrorClass
from parallel_processor.running.outages import Backoff
from parallel_processor.running.retry_budget import RetryBudgets


class Remedy(Enum):
    """What is done about a class of trouble."""

    SLOW_DOWN = "SLOW_DOWN"
    """The piece stands in line again, however often; the lane makes fewer calls at a time."""

    WAIT = "WAIT"
    """The piece stands in line again, however often, within the retry budget."""

    RETRY = "RETRY"
    """Again with full jitter, within the retry budget; so many times, then the piece fails."""

    PAUSE = "PAUSE"
    """The job rests and says why: no item could do better, and money or a credential is missing."""

    FAIL = "FAIL"
    """The piece fails, and nothing else."""

    KEEP = "KEEP"
    """The piece is what it is, and marked."""

    GIVE_UP = "GIVE_UP"
    """What is left of the job ends with it."""


TREATMENTS = {
    ErrorClass.RATE_LIMITED: Remedy.SLOW_DOWN,
    ErrorClass.OVERLOADED: Remedy.SLOW_DOWN,
    ErrorClass.NETWORK: Remedy.WAIT,
    ErrorClass.TIMEOUT: Remedy.RETRY,
    ErrorClass.SERVER_ERROR: Remedy.RETRY,
    ErrorClass.MALFORMED: Remedy.RETRY,
    ErrorClass.EMPTY: Remedy.RETRY,
    ErrorClass.QUOTA_EXHAUSTED: Remedy.PAUSE,
    ErrorClass.UNAUTHENTICATED: Remedy.PAUSE,
    ErrorClass.BUDGET: Remedy.PAUSE,
    ErrorClass.INVALID_REQUEST: Remedy.FAIL,
    ErrorClass.CONTENT_FILTERED: Remedy.FAIL,
    ErrorClass.MALFORMED_OUTPUT: Remedy.FAIL,
    ErrorClass.POISON_ITEM: Remedy.FAIL,
    ErrorClass.INTERNAL: Remedy.FAIL,
    ErrorClass.TRUNCATED: Remedy.KEEP,
    ErrorClass.DEADLINE: Remedy.GIVE_UP,
    ErrorClass.CANCELLED: Remedy.GIVE_UP,
}

NEVER_MIND = frozenset(
    each
    for each in FailureClass
    if TREATMENTS[ErrorClass[each.name]] in (Remedy.SLOW_DOWN, Remedy.WAIT, Remedy.PAUSE)
)
"""Failures that say nothing about the piece: it stands in line again however often they happen."""

_REASONS = {
    FailureClass.INVALID_REQUEST: "MODEL_REFUSED",
    FailureClass.CONTENT_FILTERED: "CONTENT_FILTERED",
    FailureClass.TIMEOUT: "MODEL_TIMEOUT",
    FailureClass.MALFORMED: "MODEL_MALFORMED",
    FailureClass.SERVER_ERROR: "MODEL_ERROR",
    FailureClass.RATE_LIMITED: "MODEL_UNAVAILABLE",
    FailureClass.OVERLOADED: "MODEL_UNAVAILABLE",
    FailureClass.NETWORK: "MODEL_UNAVAILABLE",
    FailureClass.QUOTA_EXHAUSTED: "MODEL_QUOTA_EXHAUSTED",
    FailureClass.UNAUTHENTICATED: "MODEL_UNAUTHENTICATED",
}
_WHAT_TO_DO = {
    FailureClass.QUOTA_EXHAUSTED: "top the account up or raise its limit, then ResumeJob",
    FailureClass.UNAUTHENTICATED: "set another PROCESSOR_MODEL_API_KEY, or let the account use the model, "
    "then ResumeJob",
}
_ACCOUNT_TROUBLE_S = 15.0
"""How long a piece waits for its job to be paused, before it asks an endpoint again that will not have it."""


@dataclass(slots=True)
class Effort:
    """What making a piece took so far; readable also when it is cancelled.

    Attributes:
        attempts: Calls made.
        faults: Failed calls that speak against the piece.
        usage: What its calls took.
        stages: Seconds by stage.
        committed: Whether a call is out, or its answer is being put away: money that should buy something.
    """

    attempts: int = 0
    faults: int = 0
    usage: Usage = field(default_factory=Usage)
    stages: dict[str, float] = field(default_factory=dict)
    committed: bool = False

    def spend(self, stage: str, seconds: float) -> None:
        """Add time to a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class Again:
    """The piece must stand in line again.

    Attributes:
        delay_s: After this many seconds.
        busy: Whether someone else is generating the same; then its content is awaited instead.
        pause: Why the whole job should rest meanwhile; None if it need not.
    """

    delay_s: float = 0.0
    busy: bool = False
    pause: StateReason | None = None


def treat(
    failure: ModelFailure, effort: Effort, backoff: Backoff, *, persistent: bool, max_attempts: int
) -> PieceError | Again:
    """Decide what a failed call means for its piece.

    Args:
        failure: The failure; counted in `effort` already.
        effort: What making the piece took so far.
        backoff: The piece's delays.
        persistent: Whether to wait out what is no fault of the piece; otherwise it is the answer in the end.
        max_attempts: Faults, or without persistence attempts, after which the piece fails.
    """
    kind = failure.failure_class
    error = PieceError(_REASONS[kind], failure.message)
    remedy = TREATMENTS[ErrorClass[kind.name]]
    if remedy is Remedy.PAUSE and persistent:
        why = StateReason(error.reason, f"{failure.message}; {_WHAT_TO_DO[kind]}")
        return Again(_ACCOUNT_TROUBLE_S, pause=why)
    spent = effort.faults if persistent or kind not in NEVER_MIND else effort.attempts
    if remedy in (Remedy.PAUSE, Remedy.FAIL) or spent >= max_attempts:
        return error
    return Again(backoff.next_s(floor_s=failure.retry_after_s or 0.0))


class Treating:
    """Treats failed calls and counts them; it alone says when a call is repeated."""

    def __init__(
        self,
        *,
        max_attempts: int,
        budgets: RetryBudgets,
        clock: Clock,
        on_error: Callable[[ErrorClass], None],
    ) -> None:
        """Prepare to treat.

        Args:
            max_attempts: Failed calls that speak against a piece before it fails.
            budgets: How many calls may be repeats.
            clock: Time.
            on_error: Is told the class of each error of a call.
        """
        self._max_attempts = max_attempts
        self._budgets = budgets
        self._clock = clock
        self._on_error = on_error

    def answered(self, lane: str, effort: Effort, *, truncated: bool) -> None:
        """Note a call that was answered."""
        if truncated:
            self._on_error(ErrorClass.TRUNCATED)
        if effort.attempts == 1:
            self._budgets.of(lane, self._clock.monotonic()).tried(self._clock.monotonic())

    def failed(
        self, lane: str, failure: ModelFailure, effort: Effort, backoff: Backoff, *, persistent: bool
    ) -> PieceError | Again:
        """Decide what a failed call means; what it cost is counted in `effort` already."""
        kind = ErrorClass[failure.failure_class.name]
        self._on_error(kind)
        effort.faults += failure.failure_class not in NEVER_MIND
        decision = treat(failure, effort, backoff, persistent=persistent, max_attempts=self._max_attempts)
        return self._within_budget(lane, kind, effort, decision)

    def passed_on(self, failure: ModelFailure) -> None:
        """Count a failed call whose piece another model is asked for."""
        self._on_error(ErrorClass[failure.failure_class.name])

    def empty(self, lane: str, effort: Effort, backoff: Backoff) -> PieceError | Again:
        """Decide what an answer without text means."""
        self._on_error(ErrorClass.EMPTY)
        effort.faults += 1
        decision: PieceError | Again = PieceError("MODEL_EMPTY", "the model answered without text")
        if effort.faults < self._max_attempts:
            decision = Again(backoff.next_s())
        return self._within_budget(lane, ErrorClass.EMPTY, effort, decision)

    def _within_budget(
        self, lane: str, kind: ErrorClass, effort: Effort, decision: PieceError | Again
    ) -> PieceError | Again:
        """Put a repeat off until the budget of its lane has one; who only slows down is paced elsewhere."""
        now = self._clock.monotonic()
        budget = self._budgets.of(lane, now)
        if effort.attempts == 1:
            budget.tried(now)
        if not isinstance(decision, Again) or TREATMENTS[kind] not in (Remedy.RETRY, Remedy.WAIT):
            return decision
        return replace(decision, delay_s=max(decision.delay_s, budget.take(now)))
