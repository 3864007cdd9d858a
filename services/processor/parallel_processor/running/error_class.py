"""Every kind of trouble that a call, an item or a job can meet, as it is counted."""

from __future__ import annotations

from enum import Enum


class ErrorClass(Enum):
    """The classes; a value is its label in metrics. Those of failed calls are named as in `FailureClass`."""

    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    NETWORK = "network"
    SERVER_ERROR = "server_error"
    INVALID_REQUEST = "invalid_request"
    CONTENT_FILTERED = "content_filtered"
    UNAUTHENTICATED = "authentication"
    MALFORMED = "malformed_answer"
    """The endpoint's answer is no chat completion."""

    EMPTY = "empty_output"
    TRUNCATED = "truncated"
    MALFORMED_OUTPUT = "malformed_output"
    """The output is not what its contract demands."""

    POISON_ITEM = "poison_item"
    BUDGET = "budget"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


OF_REASON = {
    "MALFORMED_OUTPUT": ErrorClass.MALFORMED_OUTPUT,
    "POISON_ITEM": ErrorClass.POISON_ITEM,
    "BUDGET_EXHAUSTED": ErrorClass.BUDGET,
    "DEADLINE_EXCEEDED": ErrorClass.DEADLINE,
    "JOB_CANCELLED": ErrorClass.CANCELLED,
    "TOO_MANY_FAILURES": ErrorClass.CANCELLED,
    "INTERNAL": ErrorClass.INTERNAL,
}
"""The classes of errors that are an item's and no call's, by the reason the item ends with."""
