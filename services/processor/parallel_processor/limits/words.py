"""What holds a lane's limit, in words for whoever asks at 3 a.m."""

from __future__ import annotations

from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import LaneReading

_WORDS = {
    Cause.STARTING: "growing since the start",
    Cause.GROWING: "growing again",
    Cause.QUEUEING: "held at {limit} because calls to {endpoint} take longer the more there are, seen {ago}",
    Cause.TIMEOUTS: "held at {limit} by calls that {endpoint} did not answer in time, {ago}",
    Cause.MOST: "held at {limit} by PROCESSOR_MAX_CONCURRENCY",
    Cause.SHARED: "held at {limit}, its share beside other models under PROCESSOR_MAX_CONCURRENCY",
    Cause.MEMORY: "held at {limit} because this machine is short of memory",
    Cause.CPU: "held at {limit} because this machine is short of CPU",
}

_TENTHS_BELOW_S, _MINUTES_FROM_S = 3, 120


def describe(lane: LaneReading, endpoint: str) -> str:
    """Say what holds a lane's limit.

    Args:
        lane: The lane.
        endpoint: Where its calls go.
    """
    if lane.cause is Cause.RATE:
        return f"at the rate that {endpoint} allows; room for another call in {seconds(lane.pause_s)}"
    if lane.cause is Cause.REFUSED:
        return _refused(lane, endpoint)
    return _WORDS[lane.cause].format(limit=lane.limit, endpoint=endpoint, ago=f"{seconds(lane.since_s)} ago")


def seconds(amount_s: float) -> str:
    """Write a span of time as people say it."""
    if amount_s < _MINUTES_FROM_S:
        return f"{amount_s:.1f} s" if amount_s < _TENTHS_BELOW_S else f"{amount_s:.0f} s"
    return f"{amount_s / 60:.0f} min"


def _refused(lane: LaneReading, endpoint: str) -> str:
    refusals = f"{lane.status}s" if lane.status else "refusals"
    ago = f"{seconds(lane.since_s)} ago"
    if lane.pause_s:
        return f"paused by {refusals} from {endpoint}, {ago}; one call asks again in {seconds(lane.pause_s)}"
    return f"held at {lane.limit} by {refusals} from {endpoint}, {ago}"
