"""When a failed call is made again, and how long to wait first: pure, with the randomness handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass

from service_common.errors import ErrorKind, ServiceError

CIRCUIT_OPEN = "CIRCUIT_OPEN"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        max_attempts: Calls made in all, the first included.
        base_s: Ceiling of the first wait; it doubles with each.
        cap_s: Ceiling of every wait.
    """

    max_attempts: int = 3
    base_s: float = 0.05
    cap_s: float = 1.0


def full_jitter_s(attempt: int, *, base_s: float, cap_s: float, rng: random.Random) -> float:
    """Return a wait drawn evenly between nothing and the exponential ceiling.

    Args:
        attempt: Failures so far, from 1.
        base_s: Ceiling after the first failure.
        cap_s: Ceiling ever.
        rng: Where chance comes from.
    """
    return rng.uniform(0.0, min(cap_s, base_s * 2.0 ** min(attempt - 1, 32)))


def retry_delay_s(
    error: ServiceError,
    attempt: int,
    *,
    policy: RetryPolicy,
    idempotent: bool,
    remaining_s: float,
    rng: random.Random,
) -> float | None:
    """Decide whether to call again.

    Only UNAVAILABLE is retried, only where repeating is harmless, and never when the wait would outlive the
    deadline. A server's RetryInfo is a floor under the wait. An open breaker is not asked again.

    Args:
        error: How the call failed.
        attempt: Calls made so far, from 1.
        policy: How often and how patiently.
        idempotent: Whether repeating the call is harmless.
        remaining_s: Seconds until the deadline.
        rng: Where chance comes from.

    Returns:
        Seconds to wait; None to give up.
    """
    if error.kind is not ErrorKind.UNAVAILABLE or error.reason == CIRCUIT_OPEN or not idempotent:
        return None
    if attempt >= policy.max_attempts:
        return None
    floor_s = error.retry_after.total_seconds() if error.retry_after else 0.0
    delay = max(floor_s, full_jitter_s(attempt, base_s=policy.base_s, cap_s=policy.cap_s, rng=rng))
    return delay if delay < remaining_s else None
