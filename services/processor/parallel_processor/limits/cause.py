"""Why a limit is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """What holds a limit where it is."""

    STARTING = "starting"
    """It has only begun to grow."""

    GROWING = "growing"
    """It grows after something that held it has passed."""

    REFUSED = "refused"
    """The endpoint turned calls away."""

    QUEUEING = "queueing"
    """The endpoint took longer for calls the more there were."""

    TIMEOUTS = "timeouts"
    """Calls were not answered in time."""

    RATE = "rate"
    """By its rate-limit headers the endpoint takes no more requests or tokens for now."""

    MOST = "most"
    """It is as high as it may be configured to be."""

    SHARED = "shared"
    """Other models take their share of the common ceiling."""

    MEMORY = "memory"
    """This machine is short of memory."""

    CPU = "cpu"
    """This machine is short of CPU."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What set a limit.

    Attributes:
        cause: What.
        since: When, in monotonic seconds.
        status: The HTTP status of the refusal, where it was one.
    """

    cause: Cause
    since: float
    status: int | None = None
