"""How much this replica does, how much it could do, and what holds it back, in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
from service_common.clock import Clock
from service_common.resilience.breaker import BreakerState

from parallel_processor.jobs.job import Priority
from parallel_processor.running.slots import Slots

_WINDOW_S = 10.0
_BUSY_CPU_PERCENT = 90.0


class Throughput:
    """Events per second over ten seconds. Its mutable state: moments and sizes of recent events."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: deque[tuple[float, int]] = deque()

    def count(self, events: int) -> None:
        """Note events that happened now."""
        self._recent.append((self._clock.monotonic(), events))
        self._forget()

    def per_second(self) -> float:
        """Return the rate."""
        self._forget()
        return sum(events for _, events in self._recent) / _WINDOW_S

    def _forget(self) -> None:
        horizon = self._clock.monotonic() - _WINDOW_S
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()


@dataclass(frozen=True, slots=True)
class Resources:
    """What this process uses: percent of one core, and resident bytes."""

    cpu_percent: float
    memory_bytes: int


class ResourceMeter:
    """Reads what this process uses, at most once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._read_at = float("-inf")
        self._last = Resources(0.0, self._process.memory_info().rss)

    def read(self) -> Resources:
        """Return what this process uses."""
        if self._clock.monotonic() - self._read_at >= 1.0:
            self._read_at = self._clock.monotonic()
            self._last = Resources(self._process.cpu_percent(), self._process.memory_info().rss)
        return self._last


@dataclass(frozen=True, slots=True)
class BreakerReading:
    """A breaker and its state."""

    name: str
    target: str
    state: BreakerState


@dataclass(frozen=True, slots=True)
class CapacityReading:
    """How the replica stands at one moment.

    Attributes:
        limit: The most model calls at a time.
        active: Model calls now.
        waiting: Items that wait for a model call, by priority.
        shards: Shards that run here.
        breakers: Breakers of the neighbours and the endpoint.
        resources: What this process uses.
        calls_per_second: Model calls finished per second, lately.
    """

    limit: int
    active: int
    waiting: Mapping[Priority, int]
    shards: int
    breakers: Sequence[BreakerReading]
    resources: Resources
    calls_per_second: float


class Capacity:
    """Reads how this replica stands."""

    def __init__(
        self,
        *,
        slots: Slots,
        shards: Callable[[], int],
        breakers: Callable[[], Sequence[BreakerReading]],
        meter: ResourceMeter,
        calls: Throughput,
    ) -> None:
        self._slots = slots
        self._shards = shards
        self._breakers = breakers
        self._meter = meter
        self._calls = calls

    def read(self) -> CapacityReading:
        """Return how it stands now."""
        return CapacityReading(
            limit=self._slots.limit,
            active=self._slots.active,
            waiting=self._slots.waiting_by_priority(),
            shards=self._shards(),
            breakers=self._breakers(),
            resources=self._meter.read(),
            calls_per_second=self._calls.per_second(),
        )


def explain(now: CapacityReading) -> str:
    """Say in words what holds throughput back."""
    open_ones = [each for each in now.breakers if each.state is not BreakerState.CLOSED]
    suspended = ", ".join(each.target for each in open_ones if each.name == "model")
    if suspended:
        return f"calls to {suspended} are suspended after repeated failures; items wait or get another model"
    without = ", ".join(sorted({each.name for each in open_ones}))
    suffix = f"; working without {without}" if without else ""
    waiting = sum(now.waiting.values())
    if now.active >= now.limit and waiting:
        words = f"all {now.limit} slots (PROCESSOR_MAX_CONCURRENCY) are busy and {waiting} items wait for one"
    elif now.resources.cpu_percent >= _BUSY_CPU_PERCENT:
        words = f"this process uses {now.resources.cpu_percent:.0f} % of a core"
    elif not now.shards:
        words = "there is nothing to do"
    else:
        words = f"{now.active} of {now.limit} slots are busy; items are being prepared or wait for others"
    return words + suffix
