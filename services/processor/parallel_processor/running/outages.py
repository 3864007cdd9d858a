"""Which failures mean that a neighbour is away, and how long to wait before asking it again."""

from __future__ import annotations

import random

from service_common.errors import ErrorKind, ServiceError

_AWAY = frozenset(
    {
        ErrorKind.UNAVAILABLE,
        ErrorKind.DEADLINE_EXCEEDED,
        ErrorKind.RESOURCE_EXHAUSTED,
        ErrorKind.INTERNAL,
        ErrorKind.CANCELLED,
        ErrorKind.UNIMPLEMENTED,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
    }
)


def is_outage(error: BaseException) -> bool:
    """Whether a failure says nothing about the request: the neighbour is away or will not have us."""
    return isinstance(error, ServiceError) and error.kind in _AWAY


class Backoff:
    """Delays with full jitter: uniform from 0 to a bound that doubles.

    Source: Marc Brooker, "Exponential Backoff And Jitter".
    """

    def __init__(self, *, base_s: float, cap_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng
        self._failures = 0

    def next_s(self, *, floor_s: float = 0.0) -> float:
        """Return the next delay in seconds, never below the floor."""
        bound = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return max(floor_s, self._rng.uniform(0.0, bound))

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._failures = 0
