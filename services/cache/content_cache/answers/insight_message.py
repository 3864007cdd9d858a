"""An explanation and warmings as the contract says them; pure."""

from __future__ import annotations

from contentfactory.cache.v1 import cache_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from content_cache.cache import ContentCache
from content_cache.convert import stats_message, timestamp
from content_cache.durability.warming import Kept, Plan, State, Strategy, Warming
from content_cache.insight.advice import Advice, Kind
from content_cache.insight.diagnosis import Bottleneck, Cause
from content_cache.insight.insight import Explanation
from content_cache.insight.latencies import Latency

_CAUSES = {
    Cause.COMPRESSION: pb.BOTTLENECK_KIND_COMPRESSION,
    Cause.SLOW_STORE: pb.BOTTLENECK_KIND_SLOW_STORE,
    Cause.EVICTION_CHURN: pb.BOTTLENECK_KIND_EVICTION_CHURN,
    Cause.HOT_KEY: pb.BOTTLENECK_KIND_HOT_KEY,
}
_KINDS = {
    Kind.RAISE_LIMIT: pb.RECOMMENDATION_KIND_RAISE_LIMIT,
    Kind.LOWER_LIMIT: pb.RECOMMENDATION_KIND_LOWER_LIMIT,
    Kind.CHANGE_POLICY: pb.RECOMMENDATION_KIND_CHANGE_POLICY,
    Kind.PURGE_TAG: pb.RECOMMENDATION_KIND_PURGE_TAG,
    Kind.COMPRESS: pb.RECOMMENDATION_KIND_COMPRESS,
}
_STATES = {
    State.RUNNING: pb.WARMING_STATE_RUNNING,
    State.SUCCEEDED: pb.WARMING_STATE_SUCCEEDED,
    State.CANCELLED: pb.WARMING_STATE_CANCELLED,
    State.FAILED: pb.WARMING_STATE_FAILED,
}
_STRATEGIES = {
    pb.WARMING_STRATEGY_UNSPECIFIED: Strategy.MOST_VALUABLE,
    pb.WARMING_STRATEGY_MOST_VALUABLE: Strategy.MOST_VALUABLE,
    pb.WARMING_STRATEGY_MOST_RECENT: Strategy.MOST_RECENT,
    pb.WARMING_STRATEGY_TAG: Strategy.TAG,
}


def explained_stats(cache: ContentCache, tenant: str, explanation: Explanation | None) -> pb.GetStatsResponse:
    """Return a tenant's statistics, explained if asked for."""
    message = stats_message(cache, tenant)
    if explanation is not None:
        message.profile.operations.extend(_operation(*each) for each in explanation.work)
        message.profile.bottlenecks.extend(map(_bottleneck, explanation.bottlenecks))
        message.advice.CopyFrom(_advice(explanation.advice))
    return message


def plan_of(request: pb.StartWarmingRequest) -> Plan:
    """Return what a checked request asks to warm."""
    return Plan(_STRATEGIES[request.strategy], request.tag, request.max_bytes, request.max_entries)


def warming_message(warming: Warming) -> pb.Warming:
    """Return how far a warming has come."""
    message = pb.Warming(
        warming_id=warming.id,
        state=_STATES[warming.state],
        candidate_entries=warming.candidates,
        done_entries=warming.done,
        warmed_entries=warming.warmed,
        warmed_bytes=warming.warmed_bytes,
        reason=warming.reason,
        start_time=timestamp(warming.start_time),
    )
    if warming.end_time is not None:
        message.end_time.CopyFrom(timestamp(warming.end_time))
    return message


def count_kept(response: pb.WarmResponse, kept: Kept, size_bytes: int) -> None:
    """Count what became of one entry."""
    response.stored_entries += kept is Kept.STORED
    response.stored_bytes += size_bytes if kept is Kept.STORED else 0
    response.held_entries += kept is Kept.HELD
    response.no_room_entries += kept is Kept.NO_ROOM


def _operation(name: str, latency: Latency) -> pb.Profile.Operation:
    return pb.Profile.Operation(
        name=name,
        count=latency.count,
        total=_duration(latency.total_s),
        p50=_duration(latency.quantile(0.5)),
        p90=_duration(latency.quantile(0.9)),
        p99=_duration(latency.quantile(0.99)),
    )


def _bottleneck(found: Bottleneck) -> pb.Profile.Bottleneck:
    return pb.Profile.Bottleneck(kind=_CAUSES[found.cause], text=found.text, share=found.share)


def _advice(advice: Advice) -> pb.Advice:
    return pb.Advice(
        limits=[
            pb.Advice.LimitEstimate(
                capacity_bytes=each.capacity_bytes,
                hit_ratio=each.hit_ratio,
                saved_micros_per_day=each.saved_micros_per_day,
            )
            for each in advice.limits
        ],
        policies=[
            pb.Advice.PolicyEstimate(
                policy=each.policy,
                hit_ratio=each.hit_ratio,
                saved_micros_per_day=each.saved_micros_per_day,
                active=each.active,
            )
            for each in advice.policies
        ],
        tags=[
            pb.Advice.TagUse(
                tag=each.tag,
                size_bytes=round(each.size_bytes),
                unused_bytes=round(each.unused_bytes),
                entries=round(each.entries),
            )
            for each in advice.tags
        ],
        recommendations=[
            pb.Advice.Recommendation(
                kind=_KINDS[each.kind], text=each.text, saved_micros_per_day=each.saved_micros_per_day
            )
            for each in advice.recommendations
        ],
    )


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)
