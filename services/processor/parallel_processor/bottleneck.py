"""What holds throughput back, found by going along the way of an item, and said in words."""

from __future__ import annotations

from enum import Enum

from service_common.resilience.breaker import BreakerState

from parallel_processor.capacity import CapacityReading
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import LaneReading
from parallel_processor.limits.words import describe

_BUSY_CPU_PERCENT = 90.0
_MUCH = 0.4
"""The part of their time that items must spend in a stage for it to be what they wait for."""


class Bottleneck(Enum):
    """What more work would need more of."""

    NOTHING_TO_DO = "NOTHING_TO_DO"
    """There is no work."""

    ENDPOINT = "ENDPOINT"
    """The model endpoint bears no more calls, or answers slowly."""

    CONCURRENCY = "CONCURRENCY"
    """PROCESSOR_MAX_CONCURRENCY allows no more calls."""

    CPU = "CPU"
    """This machine has no more CPU for this process."""

    MEMORY = "MEMORY"
    """This machine has no more memory."""

    STORE = "STORE"
    """Calls wait to be made durable, or for their leases."""

    CACHE = "CACHE"
    """Items wait for looks into the cache."""

    OPTIMIZER = "OPTIMIZER"
    """Items wait for prompts or for scores."""


_BY_CAUSE = {
    Cause.MOST: Bottleneck.CONCURRENCY,
    Cause.SHARED: Bottleneck.CONCURRENCY,
    Cause.MEMORY: Bottleneck.MEMORY,
    Cause.CPU: Bottleneck.CPU,
}
_BY_STAGE = {
    "optimize": (Bottleneck.OPTIMIZER, "items wait for prompts from the optimizer"),
    "cache": (Bottleneck.CACHE, "items wait for the cache"),
    "score": (Bottleneck.OPTIMIZER, "items wait for scores from the optimizer"),
    "generate": (Bottleneck.ENDPOINT, "items take the time that the model takes"),
}


def find(now: CapacityReading) -> tuple[Bottleneck, str]:
    """Return what holds throughput back, and say so in words."""
    bottleneck, words = _find(now)
    away = {each.name for each in now.breakers if each.state is not BreakerState.CLOSED} - {"model"}
    return bottleneck, words + (f"; working without {', '.join(sorted(away))}" if away else "")


def _find(now: CapacityReading) -> tuple[Bottleneck, str]:
    closed = BreakerState.CLOSED
    if away := [each.target for each in now.breakers if each.name == "model" and each.state is not closed]:
        words = f"calls to {', '.join(away)} are suspended after repeated failures"
        return Bottleneck.ENDPOINT, f"{words}; items wait or get another model"
    full = [each for each in now.lanes if each.waiting and each.active >= each.limit]
    if full:
        fullest = max(full, key=lambda each: each.waiting)
        return _of_lane(fullest, now.where(fullest.model))
    if not now.shards and not now.active:
        return Bottleneck.NOTHING_TO_DO, "there is nothing to do"
    if now.resources.cpu_percent >= _BUSY_CPU_PERCENT:
        return Bottleneck.CPU, f"this process uses {now.resources.cpu_percent:.0f} % of a core"
    in_flight = sum(each.in_flight for each in now.lanes)
    if now.active > 1 and in_flight < now.active / 2:
        waiting = now.active - in_flight
        return Bottleneck.STORE, f"{waiting} calls wait to be announced in the store or for their leases"
    return _of_stages(now)


def _of_lane(lane: LaneReading, endpoint: str) -> tuple[Bottleneck, str]:
    words = f"{lane.waiting} items wait for {lane.model}: {describe(lane, endpoint)}"
    return _BY_CAUSE.get(lane.cause, Bottleneck.ENDPOINT), words


def _of_stages(now: CapacityReading) -> tuple[Bottleneck, str]:
    busy = f"{now.active} of {now.limit} slots are busy"
    known = {stage: part for stage, part in now.stages.items() if stage in _BY_STAGE}
    stage = max(known, key=lambda each: known[each], default="generate")
    if stage != "generate" and known[stage] >= _MUCH:
        bottleneck, words = _BY_STAGE[stage]
        return bottleneck, f"{busy}; {words} ({known[stage]:.0%} of their time)"
    return Bottleneck.ENDPOINT, f"{busy}; {_BY_STAGE['generate'][1]}, and there are no more of them"
