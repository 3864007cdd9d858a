"""How a model call can fail, and what that means for the next try, for the breaker and for the money."""

from __future__ import annotations

from enum import Enum

from parallel_processor.model.requests import TokenUsage


class FailureClass(Enum):
    """The kinds of failure a caller treats differently."""

    RATE_LIMITED = "RATE_LIMITED"
    """Too many requests or tokens for now; slow down."""

    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    """The account has no money or allowance left; waiting does not help."""

    OVERLOADED = "OVERLOADED"
    """The endpoint turned the call away because it is busy or starting."""

    TIMEOUT = "TIMEOUT"
    """No whole answer in time."""

    NETWORK = "NETWORK"
    """No connection, or it broke."""

    INVALID_REQUEST = "INVALID_REQUEST"
    """The endpoint will not take this request, now or later."""

    CONTENT_FILTERED = "CONTENT_FILTERED"
    """A content policy stopped the prompt or the output."""

    MALFORMED = "MALFORMED"
    """The answer is not a chat completion."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    """The endpoint does not accept the credential, or not for this model."""

    SERVER_ERROR = "SERVER_ERROR"
    """The endpoint failed inside."""


class Fate(Enum):
    """What is known about the money of a failed call."""

    NOT_BILLED = "NOT_BILLED"
    """It provably cost nothing: it was never sent, or it was refused before any token was made."""

    BILLED = "BILLED"
    """It was answered, though not with content, and `ModelFailure.usage` says what it took."""

    UNKNOWN = "UNKNOWN"
    """It may have been worked on; it counts as spent."""


_RETRYABLE = frozenset(
    {
        FailureClass.RATE_LIMITED,
        FailureClass.OVERLOADED,
        FailureClass.TIMEOUT,
        FailureClass.NETWORK,
        FailureClass.MALFORMED,
        FailureClass.SERVER_ERROR,
    }
)
_ENDPOINT_FAULTS = _RETRYABLE - {FailureClass.RATE_LIMITED}


class ModelFailure(Exception):  # noqa: N818 - a failure is the domain's word: it may be nobody's error
    """A model call that brought no content.

    Attributes:
        failure_class: What kind of failure it is.
        message: What happened, for people; made of our own words, never of the prompt, the key or the body.
        fate: What is known about its money.
        retry_after_s: When the endpoint wants to be asked again, if it said so.
        status: HTTP status of the answer; None when there was none.
        usage: What the call took. Set exactly when the fate is BILLED.
    """

    def __init__(
        self,
        failure_class: FailureClass,
        message: str,
        *,
        fate: Fate,
        retry_after_s: float | None = None,
        status: int | None = None,
        usage: TokenUsage | None = None,
    ) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message
        self.fate = fate
        self.retry_after_s = retry_after_s
        self.status = status
        self.usage = usage

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.failure_class in _RETRYABLE

    @property
    def endpoint_fault(self) -> bool:
        """Whether it speaks against the endpoint's health, and so counts for its circuit breaker."""
        return self.failure_class in _ENDPOINT_FAULTS

    def __repr__(self) -> str:
        return f"ModelFailure({self.failure_class.value}, {self.message!r}, fate={self.fate.value})"
