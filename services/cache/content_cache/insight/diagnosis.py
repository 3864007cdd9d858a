"""What slows a cache down, from figures alone: each rule names one cause, with words and numbers.

A rule speaks only where there is enough to judge by; thresholds are where an operator would act.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from content_cache.entry import Address
from content_cache.insight.latencies import Latency

COMPRESS: Final = "compress"
DECOMPRESS: Final = "decompress"
STORE_COMMIT: Final = "store_commit"
STORE_READ: Final = "store_read"

_LEAST_WORK_S: Final = 0.05
_COMPRESSION_SHARE: Final = 0.4
_SLOW_COMMIT_S: Final = 0.25
_SLOW_READ_S: Final = 0.1
_LEAST_CALLS: Final = 3
_LEAST_STORED: Final = 500
_CHURN_SHARE: Final = 0.5
_CHURN_GAIN: Final = 0.05
_LEAST_LOOKUPS: Final = 1000
_HOT_SHARE: Final = 0.25
_SHOWN_KEY: Final = 40


class Cause(Enum):
    """What can slow a cache down."""

    COMPRESSION = "COMPRESSION"
    SLOW_STORE = "SLOW_STORE"
    EVICTION_CHURN = "EVICTION_CHURN"
    HOT_KEY = "HOT_KEY"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One cause.

    Attributes:
        cause: Which.
        text: What it is and what to do.
        share: The part of time, entries or lookups it concerns.
    """

    cause: Cause
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a running cache.

    Attributes:
        work: What each kind of work took.
        failures: Times the store did not take or give what was asked.
        pending: Changes that wait for it.
        stored: Entries stored since the start.
        evicted: Of these, left for want of room.
        hit_ratio: LRU's at the present limit, estimated.
        doubled_hit_ratio: At twice the limit.
        hottest: The key asked for most of late, its part of the lookups, and how many those were.
    """

    work: Mapping[str, Latency] = field(default_factory=dict)
    failures: int = 0
    pending: int = 0
    stored: int = 0
    evicted: int = 0
    hit_ratio: float = 0.0
    doubled_hit_ratio: float = 0.0
    hottest: tuple[Address, float, int] | None = None


def bottlenecks(signs: Signs) -> list[Bottleneck]:
    """Return what slows the cache down, the worst first."""
    rules = (_compression, _slow_store, _eviction_churn, _hot_key)
    found = [each for rule in rules for each in rule(signs)]
    return sorted(found, key=lambda each: -each.share)


def _compression(signs: Signs) -> Iterator[Bottleneck]:
    """Compressing is work of the cache itself; the store is waited for, and so no part of what it shares."""
    waited = {STORE_COMMIT, STORE_READ}
    whole = sum(each.total_s for name, each in signs.work.items() if name not in waited)
    taken = signs.work.get(COMPRESS, Latency())
    # Compressing happens within operations, and on threads beside them: never more than all of it.
    whole = max(whole - taken.total_s - signs.work.get(DECOMPRESS, Latency()).total_s, taken.total_s)
    if taken.total_s < _LEAST_WORK_S or taken.total_s < _COMPRESSION_SHARE * whole:
        return
    share = taken.total_s / whole
    yield Bottleneck(
        Cause.COMPRESSION,
        f"compressing takes {share:.0%} of the cache's own time: {taken.total_s:.2f} s for {taken.count:,} "
        f"entries, {taken.total_s / taken.count * 1e3:.2f} ms each; the compression level "
        "is too high, lower it",
        share,
    )


def _slow_store(signs: Signs) -> Iterator[Bottleneck]:
    commit, read = signs.work.get(STORE_COMMIT, Latency()), signs.work.get(STORE_READ, Latency())
    slow = [
        f"{what} takes {_ms(each, 0.5)} at the median, {_ms(each, 0.9)} at p90"
        for what, each, limit in (("a commit", commit, _SLOW_COMMIT_S), ("a read", read, _SLOW_READ_S))
        if each.count >= _LEAST_CALLS and each.quantile(0.5) >= limit
    ]
    calls = commit.count + read.count
    if signs.failures >= _LEAST_CALLS and signs.failures > calls // 10:
        slow.append(f"{signs.failures:,} of {calls:,} calls failed")
    if not slow:
        return
    busy = commit.total_s + read.total_s
    whole = sum(each.total_s for each in signs.work.values())
    yield Bottleneck(
        Cause.SLOW_STORE,
        f"the store is slow: {', '.join(slow)}; {signs.pending:,} changes wait for it. "
        "Hits in memory are not concerned; what a crash may lose grows",
        min(1.0, busy / whole) if whole else 1.0,
    )


def _eviction_churn(signs: Signs) -> Iterator[Bottleneck]:
    if signs.stored < _LEAST_STORED or signs.evicted < _CHURN_SHARE * signs.stored:
        return
    if signs.doubled_hit_ratio - signs.hit_ratio < _CHURN_GAIN:
        return
    share = min(1.0, signs.evicted / signs.stored)
    yield Bottleneck(
        Cause.EVICTION_CHURN,
        f"eviction churn: of {signs.stored:,} entries stored, {signs.evicted:,} left for want of room "
        f"({share:.0%}); twice the limit would raise the hit ratio from about {signs.hit_ratio:.1%} to "
        f"{signs.doubled_hit_ratio:.1%}: raise CACHE_MAX_BYTES",
        share,
    )


def _hot_key(signs: Signs) -> Iterator[Bottleneck]:
    if signs.hottest is None:
        return
    address, share, lookups = signs.hottest
    if lookups < _LEAST_LOOKUPS or share < _HOT_SHARE:
        return
    key = address.key if len(address.key) <= _SHOWN_KEY else f"{address.key[:_SHOWN_KEY]}…"
    yield Bottleneck(
        Cause.HOT_KEY,
        f"a hot key: {key} takes {share:.0%} of the last {lookups:,} lookups; all of them go to one "
        "replica, so keep its content at the caller",
        share,
    )


def _ms(latency: Latency, part: float) -> str:
    return f"{latency.quantile(part) * 1e3:.0f} ms"
