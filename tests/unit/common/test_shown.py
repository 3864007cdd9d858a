"""Gauges that are read when they are scraped, from a thread of its own."""

import pytest
from prometheus_client import CollectorRegistry, Gauge
from service_common.telemetry.metrics import show


def _gauge() -> tuple[Gauge, CollectorRegistry]:
    registry = CollectorRegistry()
    return Gauge("shown", "A gauge.", registry=registry), registry


def test_what_changes_while_it_is_read_is_read_again() -> None:
    """A collection that changes under a scrape spoils no scrape."""
    gauge, registry = _gauge()
    readings = iter([RuntimeError("deque mutated during iteration")] * 3)

    def read() -> float:
        for error in readings:
            raise error
        return 7.0

    show(gauge, read)
    assert registry.get_sample_value("shown") == 7.0


def test_what_never_can_be_read_is_told() -> None:
    """A fault that stays is no silence."""
    gauge, registry = _gauge()

    def read() -> float:
        raise RuntimeError("broken")

    show(gauge, read)
    with pytest.raises(RuntimeError, match="broken"):
        registry.get_sample_value("shown")
