"""Every metric the tracker emits, beside those all services have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram
from service_common.errors import ServiceError
from service_common.telemetry.metrics import REGISTRY

from progress_tracker.job_log import LogChanges
from progress_tracker.ledger import Outcome
from progress_tracker.progress import OTHER
from progress_tracker.report import Report

MAX_LABEL_VALUES = 32
"""Distinct content types, and distinct stages, with series of their own; the rest is counted as `other`."""

GENERATE = "generate"
_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_MICRO = 1_000_000

GENERATION_SECONDS = Histogram(
    "generation_duration_seconds",
    "Seconds an item spent in generation, by the content type of its output.",
    ["content_type"],
    buckets=_BUCKETS_S,
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "stage_duration_seconds",
    "Seconds an item spent in a stage.",
    ["stage"],
    buckets=_BUCKETS_S,
    registry=REGISTRY,
)
UPDATES = Counter(
    "progress_updates_total",
    "What reports came to: `job` and `item` events made durable, `duplicate` and `refused` reports.",
    ["kind"],
    registry=REGISTRY,
)
WATCHERS = Gauge("progress_watchers", "Open WatchProgress streams.", ["mode"], registry=REGISTRY)

_JOB, _ITEM = UPDATES.labels("job"), UPDATES.labels("item")
_DUPLICATE, _REFUSED = UPDATES.labels("duplicate"), UPDATES.labels("refused")


class BoundedSeries:
    """A histogram's series by one label whose values come from outside; only the first few get their own."""

    def __init__(self, histogram: Histogram, limit: int = MAX_LABEL_VALUES) -> None:
        self._histogram = histogram
        self._limit = limit
        self._series: dict[str, Histogram] = {}

    def observe(self, value: str, micros: int) -> None:
        """Count a duration under a label value, or under `other`."""
        series = self._series.get(value)
        if series is None:
            name = value if value and len(self._series) < self._limit else OTHER
            series = self._histogram.labels(name)
            if name == value:
                self._series[value] = series
        series.observe(micros / _MICRO)


class CommitMetrics:
    """Counts what became durable and how reports were answered."""

    def __init__(self) -> None:
        self._generation = BoundedSeries(GENERATION_SECONDS)
        self._stages = BoundedSeries(STAGE_SECONDS)

    def committed(self, tenant: str, changes: LogChanges) -> None:  # noqa: ARG002 - tenants are no labels
        """Count a commit's events and the time its items took."""
        _ITEM.inc(changes.item_events)
        _JOB.inc(len(changes.events) - changes.item_events)
        for item in changes.ended:
            for stage, micros in item.stages:
                self._stages.observe(stage, micros)
                if stage == GENERATE:
                    self._generation.observe(item.content_type, micros)

    def acknowledged(self, reports: Sequence[Report], outcomes: Sequence[Outcome]) -> None:  # noqa: ARG002 - the answers say it all
        """Count repeats and refusals."""
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                _REFUSED.inc()
            elif outcome.duplicate:
                _DUPLICATE.inc()


@contextmanager
def watching(mode: str) -> Iterator[None]:
    """Count a watcher while inside."""
    gauge = WATCHERS.labels(mode)
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
