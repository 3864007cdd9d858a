"""What a failed model call means for the piece: again later, or never."""

from __future__ import annotations

from dataclasses import dataclass, field

from parallel_processor.jobs.piece import PieceError, Usage
from parallel_processor.model.failures import FailureClass, ModelFailure
from parallel_processor.running.outages import Backoff

NEVER_MIND = frozenset(
    {
        FailureClass.RATE_LIMITED,
        FailureClass.OVERLOADED,
        FailureClass.NETWORK,
        FailureClass.QUOTA_EXHAUSTED,
        FailureClass.UNAUTHENTICATED,
    }
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
_ACCOUNT_TROUBLE = frozenset({FailureClass.QUOTA_EXHAUSTED, FailureClass.UNAUTHENTICATED})
_ACCOUNT_TROUBLE_S = 15.0
"""How long to leave an endpoint alone that does not accept the credential or has no quota left."""


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
    """

    delay_s: float = 0.0
    busy: bool = False


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
    if kind in _ACCOUNT_TROUBLE:
        return Again(_ACCOUNT_TROUBLE_S) if persistent else error
    spent = effort.faults if persistent or kind not in NEVER_MIND else effort.attempts
    if spent >= max_attempts or not failure.retryable:
        return error
    return Again(backoff.next_s(floor_s=failure.retry_after_s or 0.0))
