"""What tallies expose is what prometheus_client's own metrics expose of the same events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from service_common.telemetry.tallies import CounterTally, HistogramTally

BUCKETS = (0.001, 0.25, 1, 10)
EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.one_of(st.sampled_from([0.0, *BUCKETS]), st.floats(0, 100)))
)


@given(EVENTS)
def test_exposed_as_the_library_exposes_its_own(events: list[tuple[str, float]]) -> None:
    """Names, labels, bounds, cumulative counts and sums are the same, to the byte."""
    theirs, ours = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    counter = Counter("calls_total", "Calls.", ["kind"], registry=theirs)
    histogram = Histogram("call_seconds", "Seconds.", ["kind"], buckets=BUCKETS, registry=theirs)
    calls = CounterTally("calls_total", "Calls.", ["kind"], registry=ours)
    seconds = HistogramTally("call_seconds", "Seconds.", ["kind"], buckets=BUCKETS, registry=ours)
    for kind, value in events:
        counter.labels(kind).inc()
        histogram.labels(kind).observe(value)
        calls.labels(kind).inc()
        seconds.labels(kind).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_name_is_taken_once() -> None:
    """Two metrics of one name in one registry are a mistake of the program, found at once."""
    registry = CollectorRegistry(auto_describe=True)
    CounterTally("calls_total", "Calls.", [], registry=registry)
    with pytest.raises(ValueError, match="calls"):
        CounterTally("calls_total", "Calls.", [], registry=registry)
