"""What holds throughput back is found along the way of an item, and every answer names its cause."""

from __future__ import annotations

import dataclasses

import pytest
from parallel_processor.bottleneck import Bottleneck, find
from parallel_processor.capacity import BreakerReading, CapacityReading, Resources, StageTimes
from parallel_processor.jobs.item import ItemState, Outcome
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import LaneReading
from parallel_processor.limits.words import describe
from service_common.resilience.breaker import BreakerState

from tests.unit.processor.samples import NOW

URL = "http://model:8000/v1"
LANE = LaneReading(
    model="m",
    limit=14,
    active=14,
    in_flight=14,
    waiting=30,
    cause=Cause.REFUSED,
    since_s=3.2,
    status=429,
    pause_s=0.0,
)
BUSY = CapacityReading(
    endpoint=URL,
    elsewhere={"far": "http://far/v1"},
    limit=64,
    active=14,
    lanes=[LANE],
    stages={},
    waiting={},
    shards=2,
    breakers=[BreakerReading("model", "m", BreakerState.CLOSED)],
    resources=Resources(20.0, 1 << 20),
    calls_per_second=10.0,
)
FREE = dataclasses.replace(BUSY, lanes=[dataclasses.replace(LANE, limit=64, waiting=0)])


@pytest.mark.parametrize(
    ("lane", "words"),
    [
        (LANE, f"held at 14 by 429s from {URL}, 3 s ago"),
        (
            dataclasses.replace(LANE, limit=0, status=None, pause_s=1.5, since_s=0.5),
            f"paused by refusals from {URL}, 0.5 s ago; one call asks again in 1.5 s",
        ),
        (
            dataclasses.replace(LANE, cause=Cause.QUEUEING, since_s=200),
            f"held at 14 because calls to {URL} take longer the more there are, seen 3 min ago",
        ),
        (
            dataclasses.replace(LANE, cause=Cause.RATE, pause_s=12.0),
            f"at the rate that {URL} allows; room for another call in 12 s",
        ),
        (dataclasses.replace(LANE, cause=Cause.MEMORY), "held at 14 because this machine is short of memory"),
    ],
)
def test_a_limit_is_explained(lane: LaneReading, words: str) -> None:
    """Limit, cause, place and time, as one would say it."""
    assert describe(lane, URL) == words


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_words(cause: Cause) -> None:
    """None is left without."""
    assert describe(dataclasses.replace(LANE, cause=cause), URL)


@pytest.mark.parametrize(
    ("now", "expected", "words"),
    [
        (BUSY, Bottleneck.ENDPOINT, "30 items wait for m: held at 14 by 429s"),
        (
            dataclasses.replace(BUSY, lanes=[dataclasses.replace(LANE, cause=Cause.MOST)]),
            Bottleneck.CONCURRENCY,
            "PROCESSOR_MAX_CONCURRENCY",
        ),
        (
            dataclasses.replace(BUSY, lanes=[dataclasses.replace(LANE, cause=Cause.MEMORY)]),
            Bottleneck.MEMORY,
            "short of memory",
        ),
        (
            dataclasses.replace(BUSY, lanes=[dataclasses.replace(LANE, cause=Cause.CPU)]),
            Bottleneck.CPU,
            "short of CPU",
        ),
        (
            dataclasses.replace(BUSY, lanes=[dataclasses.replace(LANE, model="far")]),
            Bottleneck.ENDPOINT,
            "30 items wait for far: held at 14 by 429s from http://far/v1",
        ),
        (dataclasses.replace(FREE, resources=Resources(97.0, 1)), Bottleneck.CPU, "97 % of a core"),
        (dataclasses.replace(FREE, active=0, shards=0), Bottleneck.NOTHING_TO_DO, "nothing to do"),
        (
            dataclasses.replace(FREE, lanes=[dataclasses.replace(FREE.lanes[0], in_flight=2)]),
            Bottleneck.STORE,
            "12 calls wait to be announced",
        ),
        (dataclasses.replace(FREE, stages={"optimize": 0.6, "generate": 0.4}), Bottleneck.OPTIMIZER, "60%"),
        (dataclasses.replace(FREE, stages={"cache": 0.5, "wait": 0.5}), Bottleneck.CACHE, "the cache"),
        (dataclasses.replace(FREE, stages={"score": 0.7}), Bottleneck.OPTIMIZER, "scores"),
        (dataclasses.replace(FREE, stages={"generate": 0.9}), Bottleneck.ENDPOINT, "the model takes"),
        (
            dataclasses.replace(BUSY, breakers=[BreakerReading("model", "m", BreakerState.OPEN)]),
            Bottleneck.ENDPOINT,
            "suspended",
        ),
        (
            dataclasses.replace(FREE, breakers=[BreakerReading("cache", "c", BreakerState.OPEN)]),
            Bottleneck.ENDPOINT,
            "working without cache",
        ),
    ],
)
def test_the_bottleneck_is_named(now: CapacityReading, expected: Bottleneck, words: str) -> None:
    """Endpoint, ceiling, CPU, memory, store, cache, optimizer, or nothing to do: each in its situation."""
    bottleneck, said = find(now)
    assert bottleneck is expected
    assert words in said


def test_stage_times_forget() -> None:
    """What items took lately counts, not what they took long ago."""
    times = StageTimes()
    times.add([Outcome("a", ItemState.SUCCEEDED, NOW, stages={"cache": 9.0, "generate": 1.0})])
    assert times.shares() == {"cache": 0.9, "generate": 0.1}
    for _ in range(100):
        times.add([Outcome("a", ItemState.SUCCEEDED, NOW, stages={"generate": 1.0})])
    assert times.shares()["generate"] > 0.99
