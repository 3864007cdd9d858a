"""Brings together what is observed of a running cache, for those who ask where time and memory go."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from content_cache.cache import ContentCache
from content_cache.entry import Entry
from content_cache.holding.stats import total
from content_cache.insight.advice import Advice, Observed, advise
from content_cache.insight.diagnosis import Bottleneck, Signs, bottlenecks
from content_cache.insight.latencies import Latencies, Latency
from content_cache.learning.accesses import Accesses

LIMITS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)

_MOST_TAGS: Final = 20
_PROBED_ENTRIES: Final = 16
_PROBED_BYTES: Final = 8 * 1024
_LEAST_PROBED: Final = 8


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the durable tier does: what waits for it and what it failed to do."""

    pending: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where time goes, what is wrong, and what would be better.

    Attributes:
        work: What each kind of work took, the one that took most first.
        bottlenecks: The worst first.
        advice: What would be better.
    """

    work: tuple[tuple[str, Latency], ...]
    bottlenecks: tuple[Bottleneck, ...]
    advice: Advice


class Insight:
    """Explains one cache; what it says names keys and labels of the asking tenant only."""

    def __init__(
        self,
        accesses: Accesses,
        latencies: Latencies,
        *,
        policy: str,
        store: Callable[[], StoreHealth],
        packs: bool = False,
    ) -> None:
        """Prepare.

        Args:
            accesses: What was asked for.
            latencies: How long things took.
            policy: The name of the policy in use.
            store: Tells how the durable tier does.
            packs: Whether entries are compressed already.
        """
        self._accesses = accesses
        self._latencies = latencies
        self._policy = policy
        self._store = store
        self._packs = packs

    def explain(self, cache: ContentCache, tenant: str) -> Explanation:
        """Return all that is known now; bounded work of some milliseconds."""
        work = self._latencies.by_name()
        ordered = sorted(work.items(), key=lambda each: -each[1].total_s)
        return Explanation(
            tuple(ordered),
            tuple(bottlenecks(self._signs(cache, tenant))),
            advise(self._observed(cache, tenant)),
        )

    def _signs(self, cache: ContentCache, tenant: str) -> Signs:
        counts, store, curve = total(cache.all_counters()), self._store(), self._accesses.curve
        hottest = self._accesses.hottest()
        return Signs(
            work=self._latencies.by_name(),
            failures=store.failures,
            pending=store.pending,
            stored=self._accesses.stored_count,
            evicted=counts.evictions + counts.quota_evictions,
            hit_ratio=curve.hit_ratio(cache.max_bytes),
            doubled_hit_ratio=curve.hit_ratio(2 * cache.max_bytes),
            hottest=hottest if hottest and hottest[0].tenant == tenant else None,
        )

    def _observed(self, cache: ContentCache, tenant: str) -> Observed:
        counts, shadows, curve = cache.counters(tenant), self._accesses.shadows, self._accesses.curve
        part = None if self._packs else _compressed_part(self._some_entries(cache, tenant))
        room = cache.max_bytes / part if part else 0.0
        return Observed(
            seconds=(cache.now - cache.start_time).total_seconds(),
            lookups=counts.hits + counts.misses,
            hits=counts.hits,
            saved_micros=counts.saved_micros,
            capacity_bytes=cache.max_bytes,
            size_bytes=cache.size_bytes,
            curve={int(cache.max_bytes * each): curve.hit_ratio(cache.max_bytes * each) for each in LIMITS},
            policies={
                name: (shadows.hit_ratio(name), each.saved_micros) for name, each in shadows.by_policy.items()
            },
            sampled_lookups=shadows.lookups,
            policy=self._policy,
            tags=self._accesses.uses.by_tag(tenant)[:_MOST_TAGS],
            compressed_part=part,
            hit_ratio_compressed=curve.hit_ratio(room),
        )

    def _some_entries(self, cache: ContentCache, tenant: str) -> Iterable[Entry]:
        held = (cache.held(address) for address in self._accesses.uses.keys_of(tenant))
        return islice((each for each in held if each is not None), _PROBED_ENTRIES)


def _compressed_part(entries: Iterable[Entry]) -> float | None:
    """Return what compression leaves of entries, overhead included, judged by the beginnings of a few."""
    before = after = probed = 0
    for each in entries:
        start = each.encoded[:_PROBED_BYTES]
        compressible = start and not each.packing
        left = min(1.0, len(zlib.compress(start, 1)) / len(start)) if compressible else 1.0
        before += each.size_bytes
        after += each.size_bytes - len(each.encoded) + round(len(each.encoded) * left)
        probed += 1
    return after / before if probed >= _LEAST_PROBED else None
