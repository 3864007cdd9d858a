"""How long things take: per kind of work a histogram with fixed logarithmic buckets, 9 % wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Final

_PER_DOUBLING: Final = 8
_BUCKETS: Final = 34 * _PER_DOUBLING
_LEAST_S: Final = 1e-7

Observe = Callable[[float], None]


@dataclass(slots=True)
class Latency:
    """What one kind of work took.

    Attributes:
        count: How often.
        total_s: All of it.
        buckets: How often by duration: bucket n holds those up to `1e-7 · 2 ** (n / 8)` seconds.
    """

    count: int = 0
    total_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def observe(self, seconds: float) -> None:
        """Take note of one."""
        self.count += 1
        self.total_s += seconds
        place = ceil(log2(seconds / _LEAST_S) * _PER_DOUBLING) if seconds > _LEAST_S else 0
        self.buckets[min(place, _BUCKETS - 1)] += 1

    def quantile(self, part: float) -> float:
        """Return seconds that so many took at most, e.g. 0.99 of them; 0 before the first."""
        needed = part * self.count
        seen = 0
        for place, count in enumerate(self.buckets):
            seen += count
            if count and seen >= needed:
                return float(_LEAST_S * 2 ** (place / _PER_DOUBLING))
        return 0.0


class Latencies:
    """All kinds of work by name.

    Args:
        also: Returns who else is told of a kind of work.
    """

    def __init__(self, also: Callable[[str], Observe] | None = None) -> None:
        self._also = also
        self._by_name: dict[str, Latency] = {}

    def observer(self, name: str) -> Observe:
        """Return what is told the seconds of one kind of work."""
        observe = self._by_name.setdefault(name, Latency()).observe
        if self._also is None:
            return observe
        other = self._also(name)

        def both(seconds: float) -> None:
            observe(seconds)
            other(seconds)

        return both

    def by_name(self) -> Mapping[str, Latency]:
        """Return what was observed so far; kinds that never happened are left out."""
        return {name: each for name, each in self._by_name.items() if each.count}
