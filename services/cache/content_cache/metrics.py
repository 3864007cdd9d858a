"""Every metric the cache emits; counts are read from the cache when scraped, so they cost a call nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from service_common.telemetry.metrics import LATENCY_BUCKETS_S, REGISTRY
from service_common.telemetry.tallies import HistogramTally

from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.durability.loading import LoadCounts
from content_cache.durability.read_through import ReadCounts
from content_cache.durability.write_behind import WriteBehind
from content_cache.holding.stats import total
from content_cache.learning.miss_ratio_curve import MissRatioCurve
from content_cache.live import LiveCache
from content_cache.memory.guard import MemoryGuard
from content_cache.semantic.port import Counts

_OTHER_LIMITS = (0.25, 0.5, 1.0, 2.0, 4.0)

OPERATION_SECONDS = HistogramTally(
    "content_cache_operation_duration_seconds",
    "Seconds the cache itself worked on one call, without transport.",
    ["operation"],
    buckets=(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, *LATENCY_BUCKETS_S),
    registry=REGISTRY,
)


def observer(operation: str) -> Callable[[float], None]:
    """Return what is told the seconds of one kind of operation."""
    return OPERATION_SECONDS.labels(operation).observe


class CacheCollector(Collector):
    """Shows one cache; safe to scrape from another thread."""

    def __init__(
        self,
        live: LiveCache,
        writes: WriteBehind,
        loaded: LoadCounts,
        read: ReadCounts,
        *,
        guard: MemoryGuard,
        curve: MissRatioCurve,
    ) -> None:
        self._read = read
        self._live = live
        self._writes = writes
        self._loaded = loaded
        self._guard = guard
        self._curve = curve

    def describe(self) -> Iterable[Metric]:
        """Return what `collect` will."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        yield from self._entry_metrics()
        yield from self._memory_metrics()
        yield from self._lease_metrics()
        yield from self._durability_metrics()

    def _entry_metrics(self) -> Iterable[Metric]:
        cache = self._live.cache
        counts = total(cache.all_counters())
        yield CounterMetricFamily("content_cache_hits", "Lookups that found an entry.", counts.hits)
        yield CounterMetricFamily(
            "content_cache_stale_hits", "Hits on expired entries, someone refreshing them.", counts.stale_hits
        )
        yield CounterMetricFamily("content_cache_misses", "Lookups that found none.", counts.misses)
        yield GaugeMetricFamily(
            "content_cache_size_bytes", "Memory that entries take, overhead included.", cache.size_bytes
        )
        yield GaugeMetricFamily("content_cache_capacity_bytes", "Most that may be taken.", cache.max_bytes)
        yield GaugeMetricFamily("content_cache_items_total", "Entries held now (a gauge).", len(cache))
        evictions = CounterMetricFamily(
            "content_cache_evictions", "Entries that left without being deleted by key.", labels=["cause"]
        )
        evictions.add_metric(["capacity"], counts.evictions)
        evictions.add_metric(["ttl"], counts.expirations)
        evictions.add_metric(["purge"], counts.purged)
        evictions.add_metric(["quota"], counts.quota_evictions)
        yield evictions

    def _memory_metrics(self) -> Iterable[Metric]:
        last, counts = self._guard.last, self._guard.counts
        used, limit = (last.used_bytes, last.limit_bytes) if last else (0, 0)
        yield GaugeMetricFamily(
            "content_cache_memory_used_bytes", "What the process or its cgroup takes.", used
        )
        yield GaugeMetricFamily("content_cache_memory_limit_bytes", "Where the kernel ends it.", limit)
        yield CounterMetricFamily(
            "content_cache_memory_shrinks", "Times entries left for want of memory.", counts.shrinks
        )
        yield CounterMetricFamily(
            "content_cache_memory_growths", "Times the limit rose again after that.", counts.growths
        )
        ratios = GaugeMetricFamily(
            "content_cache_estimated_hit_ratio", "Hit ratio of LRU at other limits.", labels=["limit"]
        )
        for share in _OTHER_LIMITS:
            ratio = self._curve.hit_ratio(self._live.cache.max_bytes * share)
            ratios.add_metric([f"{share:g}x"], ratio)
        yield ratios

    def _lease_metrics(self) -> Iterable[Metric]:
        leases = self._live.cache.active_leases()
        yield GaugeMetricFamily("content_cache_leases", "Keys being generated now.", leases)
        waited = len(self._live.waiting)
        yield GaugeMetricFamily("content_cache_awaited_keys", "Keys waited for now.", waited)

    def _durability_metrics(self) -> Iterable[Metric]:
        counts = self._writes.counts
        yield GaugeMetricFamily(
            "content_cache_pending_writes", "Changed keys the store does not have yet.", len(self._writes)
        )
        yield CounterMetricFamily("content_cache_writes", "Changes stored.", counts.written)
        yield CounterMetricFamily(
            "content_cache_write_failures", "Batches the store did not take.", counts.failed_commits
        )
        yield CounterMetricFamily(
            "content_cache_writes_dropped", "Changes given up; not durable.", counts.dropped
        )
        yield GaugeMetricFamily(
            "content_cache_loaded_entries", "Entries loaded at the start.", self._loaded.entries
        )
        yield CounterMetricFamily(
            "content_cache_damaged_entries",
            "Stored entries whose checksum failed.",
            self._loaded.damaged + self._read.damaged,
        )
        yield CounterMetricFamily(
            "content_cache_read_through", "Entries brought back when asked for.", self._read.entries
        )
        yield CounterMetricFamily(
            "content_cache_read_through_failures", "Times the store was too slow for it.", self._read.failures
        )


class SemanticCollector(Collector):
    """Shows the semantic tier, while it is on; safe to scrape from another thread."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        """Return what `collect` will."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        counts = self._counts
        yield GaugeMetricFamily("content_cache_semantic_prompts", "Prompts to be found now.", counts.prompts)
        lookups = CounterMetricFamily(
            "content_cache_semantic_lookups", "Prompts looked up by meaning.", labels=["outcome"]
        )
        lookups.add_metric(["reuse"], counts.reused)
        lookups.add_metric(["compare"], counts.compared)
        lookups.add_metric(["none"], counts.missed)
        yield lookups
        yield CounterMetricFamily(
            "content_cache_semantic_vetoes", "Similar prompts whose words forbade reuse.", counts.vetoed
        )
        compared = CounterMetricFamily(
            "content_cache_semantic_comparisons",
            "Answers compared, by whether they agree.",
            labels=["answers"],
        )
        compared.add_metric(["same"], counts.same)
        compared.add_metric(["different"], counts.different)
        yield compared


class CompressionCollector(Collector):
    """Shows what compression came to; safe to scrape from another thread."""

    def __init__(self, counts: CompressionCounts, dictionaries: Dictionaries) -> None:
        self._counts = counts
        self._dictionaries = dictionaries

    def describe(self) -> Iterable[Metric]:
        """Return what `collect` will."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        before = CounterMetricFamily(
            "content_cache_compression_input_bytes", "Entries packed, as sent.", labels=["dictionary"]
        )
        after = CounterMetricFamily(
            "content_cache_compression_output_bytes",
            "Entries packed, as kept.",
            labels=["dictionary"],
        )
        for label, packed in (("none", self._counts.plain), ("trained", self._counts.trained)):
            before.add_metric([label], packed.bytes_before)
            after.add_metric([label], packed.bytes_after)
        yield before
        yield after
        yield GaugeMetricFamily(
            "content_cache_dictionaries", "Dictionaries in memory.", len(self._dictionaries)
        )
        yield GaugeMetricFamily(
            "content_cache_dictionary_bytes", "Memory they take.", self._dictionaries.size_bytes
        )
        trainings = CounterMetricFamily(
            "content_cache_trainings", "Dictionaries trained, by outcome.", labels=["outcome"]
        )
        trainings.add_metric(["used"], self._counts.trainings)
        trainings.add_metric(["rejected"], self._counts.rejected)
        trainings.add_metric(["failed"], self._counts.failed)
        yield trainings
        failures = CounterMetricFamily(
            "content_cache_unpack_failures", "Hits that were misses: no content came back.", labels=["cause"]
        )
        for cause, count in self._counts.unpack_failures.items():
            failures.add_metric([cause], count)
        yield failures
