"""Each of the four bottlenecks is named when it is there, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from content_cache.entry import Address
from content_cache.insight.diagnosis import Cause, Signs, bottlenecks
from content_cache.insight.latencies import Latencies, Latency


def worked(**work: tuple[int, float]) -> dict[str, Latency]:
    """Return so many of each kind of work, each of so many seconds."""
    latencies = Latencies()
    for name, (count, seconds) in work.items():
        observe = latencies.observer(name)
        for _ in range(count):
            observe(seconds)
    return dict(latencies.by_name())


WELL = Signs(
    work=worked(get=(1000, 1e-5), batch_fill=(100, 1e-3), store_commit=(50, 0.01), compress=(100, 2e-4)),
    stored=1000,
    evicted=100,
    hit_ratio=0.6,
    doubled_hit_ratio=0.65,
    hottest=(Address("a", "k"), 0.05, 5000),
)


def test_nothing_is_said_of_a_cache_that_is_well() -> None:
    """With ordinary figures there is no bottleneck."""
    assert bottlenecks(WELL) == []
    assert bottlenecks(Signs()) == []


@pytest.mark.parametrize(
    ("injected", "cause", "words"),
    [
        (
            {"work": worked(batch_fill=(100, 0.02), compress=(100, 0.015))},
            Cause.COMPRESSION,
            ("75%", "100 entries", "15.00 ms", "level"),
        ),
        (
            {"work": worked(get=(100, 1e-5), store_commit=(20, 1.0)), "pending": 1234},
            Cause.SLOW_STORE,
            ("commit", "1,234", "median"),
        ),
        ({"work": worked(store_commit=(20, 0.01)), "failures": 9}, Cause.SLOW_STORE, ("9 of 20",)),
        (
            {"evicted": 900, "hit_ratio": 0.3, "doubled_hit_ratio": 0.5},
            Cause.EVICTION_CHURN,
            ("900", "90%", "30.0%", "50.0%", "CACHE_MAX_BYTES"),
        ),
        ({"hottest": (Address("a", "popular"), 0.6, 5000)}, Cause.HOT_KEY, ("popular", "60%", "5,000")),
    ],
)
def test_each_is_named(injected: dict[str, object], cause: Cause, words: tuple[str, ...]) -> None:
    """What is injected is the one thing named, with its numbers."""
    (found,) = bottlenecks(replace(WELL, **injected))  # type: ignore[arg-type] # fields by name
    assert found.cause is cause
    assert 0 < found.share <= 1
    assert all(word in found.text for word in words), found.text


def test_the_worst_comes_first() -> None:
    """All four at once are all named, in the order of what they concern."""
    signs = Signs(
        work=worked(batch_fill=(100, 0.02), compress=(100, 0.015), store_commit=(10, 0.3)),
        stored=1000,
        evicted=900,
        hit_ratio=0.1,
        doubled_hit_ratio=0.5,
        hottest=(Address("a", "k"), 0.3, 2000),
    )
    found = bottlenecks(signs)
    assert {each.cause for each in found} == set(Cause)
    assert [each.share for each in found] == sorted((each.share for each in found), reverse=True)


@pytest.mark.parametrize("seconds", [0.0, 3e-7, 4.2e-5, 0.0123, 7.0])
def test_quantiles_are_within_a_tenth(seconds: float) -> None:
    """Whatever the duration, the bucket's upper edge is at most 10 % above it."""
    latency = Latency()
    for _ in range(99):
        latency.observe(seconds)
    latency.observe(60.0)
    found = latency.quantile(0.5)
    assert found >= seconds
    assert found <= max(1.1 * seconds, 1.1e-7)
    assert latency.quantile(1.0) == pytest.approx(60.0, rel=0.1)
