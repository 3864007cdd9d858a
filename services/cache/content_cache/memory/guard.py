"""How much entries may take, given what the process takes: less before the kernel acts, more when calm.

Pure: readings in, a limit out. Above the high mark the cache gives back enough to come to the low mark. Below
the high mark it may grow to that mark and no further, so that what comes between two readings is bounded. A
limit that was lowered rises again only after ten calm seconds under the low mark, in steps, and only as far
as that mark.
"""

from __future__ import annotations

from dataclasses import dataclass

HIGH_MARK = 0.90
LOW_MARK = 0.80
CALM_S = 10.0
"""Under the low mark for so long, the limit may rise."""

_FLOOR_SHARE = 16
_FLOOR_BYTES = 8 * 1024 * 1024
_STEP_SHARE = 16


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """What is taken of what there is.

    Attributes:
        used_bytes: What the process takes, or all in its cgroup if that is more.
        limit_bytes: Where the kernel ends it.
        source: Whose limit that is, in a word or two.
    """

    used_bytes: int
    limit_bytes: int
    source: str

    @property
    def is_high(self) -> bool:
        """Whether the high mark is passed."""
        return self.used_bytes > self.limit_bytes * HIGH_MARK


@dataclass(slots=True)
class GuardCounts:
    """What the guard did: how often it lowered the limit so that entries leave, and raised it again."""

    shrinks: int = 0
    growths: int = 0


class MemoryGuard:
    """The limit, as of the last reading.

    Attributes:
        allowed_bytes: The limit.
        wanted_bytes: The limit where memory is plenty.
        counts: What it did.
        last: The last reading.

    Args:
        wanted_bytes: The limit where memory is plenty.
    """

    def __init__(self, wanted_bytes: int) -> None:
        self.allowed_bytes = wanted_bytes
        self.counts = GuardCounts()
        self.wanted_bytes = wanted_bytes
        self.last: MemoryReading | None = None
        self._floor = min(wanted_bytes, max(wanted_bytes // _FLOOR_SHARE, _FLOOR_BYTES))
        self._calm_since: float | None = None

    @property
    def at_floor(self) -> bool:
        """Whether nothing is left to give back: a sixteenth of what is wanted stays, or 8 MiB."""
        return self.allowed_bytes <= self._floor

    def read(self, reading: MemoryReading, *, cache_bytes: int, now: float) -> bool:
        """Take a reading; tell whether entries must leave.

        Args:
            reading: The reading.
            cache_bytes: What the entries take at that moment.
            now: The monotonic second of it.
        """
        self.last = reading
        high, low = int(reading.limit_bytes * HIGH_MARK), int(reading.limit_bytes * LOW_MARK)
        if reading.is_high:
            self._calm_since = None
            return self._shrink(cache_bytes - (reading.used_bytes - low))
        if reading.used_bytes > low:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S and self.allowed_bytes < self.wanted_bytes:
            self._grow(cache_bytes + low - reading.used_bytes)
        ceiling = cache_bytes + high - reading.used_bytes
        self.allowed_bytes = max(self._floor, min(self.allowed_bytes, ceiling))
        return False

    def _shrink(self, to_bytes: int) -> bool:
        target = max(self._floor, min(self.allowed_bytes, to_bytes))
        lowered = target < self.allowed_bytes
        self.counts.shrinks += lowered
        self.allowed_bytes = target
        return lowered

    def _grow(self, most_bytes: int) -> None:
        step = self.wanted_bytes // _STEP_SHARE
        target = min(self.wanted_bytes, self.allowed_bytes + step, most_bytes)
        if target > self.allowed_bytes:
            self.counts.growths += 1
            self.allowed_bytes = target
