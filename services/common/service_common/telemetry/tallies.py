"""Counters and histograms for what happens on every call: no lock, no label lookup, no search.

A tally is changed by the event loop's thread alone and read from any: a scrape may see a change half made,
one call in a histogram's buckets and not yet in its sum, and sees it whole the next time. What is exposed has
the names and the form of prometheus_client's own metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

_INFINITY = float("inf")


class Count:
    """How often something happened.

    Attributes:
        value: So often.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Count one more."""
        self.value += 1


class Distribution:
    """How many observations fell below each bound.

    Attributes:
        counts: Per bound those at most as large and above the bound before; the last holds all beyond.
        sum: Of all observations.
    """

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self.counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Take note of one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class CounterTally(Collector):
    """A counter by labels, as prometheus_client's `Counter`."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name = name.removesuffix("_total")
        self._documentation = documentation
        self._labels = tuple(labels)
        self._children: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the count under these values of the labels; hold on to it."""
        return self._children.setdefault(values, Count())

    def describe(self) -> Iterable[Metric]:
        """Return the metric without values."""
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[Metric]:
        """Return the values of now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in list(self._children.items()):
            family.add_metric(values, count.value)
        yield family


class HistogramTally(Collector):
    """A histogram by labels, as prometheus_client's `Histogram`."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._buckets = tuple(buckets)
        bounds = (*self._buckets, _INFINITY)
        self._bounds = [str(floatToGoString(each)) for each in bounds]  # type: ignore[no-untyped-call]  # so published
        self._children: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def labels(self, *values: str) -> Distribution:
        """Return the distribution under these values of the labels; hold on to it."""
        return self._children.setdefault(values, Distribution(self._buckets))

    def describe(self) -> Iterable[Metric]:
        """Return the metric without values."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[Metric]:
        """Return the values of now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, each in list(self._children.items()):
            buckets = list(zip(self._bounds, map(float, accumulate(each.counts)), strict=True))
            family.add_metric(values, buckets, each.sum)
        yield family
