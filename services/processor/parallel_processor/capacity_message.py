"""How the replica stands, as the contract writes it."""

from __future__ import annotations

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.resilience.breaker import BreakerState
from service_common.rpc.times import duration

from parallel_processor.bottleneck import Bottleneck, find
from parallel_processor.capacity import CapacityReading
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import LaneReading
from parallel_processor.limits.words import describe

_BREAKER_STATES = {
    BreakerState.CLOSED: pb.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: pb.BREAKER_STATE_HALF_OPEN,
}
_BOTTLENECKS = {each: pb.Bottleneck.Value(f"BOTTLENECK_{each.name}") for each in Bottleneck}
_LIMIT_CAUSES = {each: pb.LimitCause.Value(f"LIMIT_CAUSE_{each.name}") for each in Cause}


def _lane(lane: LaneReading, endpoint: str) -> pb.GetCapacityResponse.Lane:
    return pb.GetCapacityResponse.Lane(
        model=lane.model,
        limit=lane.limit,
        in_flight=lane.in_flight,
        waiting=lane.waiting,
        cause=_LIMIT_CAUSES[lane.cause],
        held_for=duration(lane.since_s),
        explanation=describe(lane, endpoint),
    )


def capacity(now: CapacityReading) -> pb.GetCapacityResponse:
    """Write how the replica stands."""
    bottleneck, words = find(now)
    return pb.GetCapacityResponse(
        concurrency_limit=now.limit,
        active_calls=now.active,
        queues=[
            pb.GetCapacityResponse.QueueDepth(priority=pb.JobPriority.ValueType(int(each)), items=items)
            for each, items in sorted(now.waiting.items(), reverse=True)
        ],
        leased_shards=now.shards,
        breakers=[
            pb.GetCapacityResponse.Breaker(
                name=each.name, target=each.target, state=_BREAKER_STATES[each.state]
            )
            for each in now.breakers
        ],
        cpu_percent=now.resources.cpu_percent,
        memory_bytes=now.resources.memory_bytes,
        calls_per_second=now.calls_per_second,
        explanation=words,
        bottleneck=_BOTTLENECKS[bottleneck],
        lanes=[_lane(each, now.where(each.model)) for each in now.lanes],
    )
