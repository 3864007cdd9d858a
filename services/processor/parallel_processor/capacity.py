"""How much this replica does, how much it could do, and what holds it back, in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
from service_common.clock import Clock
from service_common.resilience.breaker import BreakerState

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Priority
from parallel_processor.limits.lane import LaneReading
from parallel_processor.limits.lanes import Lanes

_WINDOW_S = 10.0
_STAGES_KEPT = 0.9


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
        horizon = self._clock.monotonic() - _WINDOW_S
        recent = tuple(self._recent)  # in one step: whoever scrapes asks from another thread
        return sum(events for moment, events in recent if moment >= horizon) / _WINDOW_S

    def _forget(self) -> None:
        horizon = self._clock.monotonic() - _WINDOW_S
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()


class StageTimes:
    """Where finished items spent their time, lately. Its mutable state: seconds by stage, decaying."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take in items that have ended."""
        for stage in self._seconds:
            self._seconds[stage] *= _STAGES_KEPT
        for outcome in outcomes:
            for stage, seconds in outcome.stages.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def shares(self) -> Mapping[str, float]:
        """Return the part of their time that each stage took."""
        total = sum(self._seconds.values())
        return {stage: seconds / total for stage, seconds in self._seconds.items()} if total else {}


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
        endpoint: Where model calls go.
        elsewhere: Where those of models at other endpoints go, by model.
        limit: The most model calls at a time, over all models.
        active: Model calls under way.
        lanes: How the lane to each model stands.
        stages: The part of their time that finished items spent in each stage, lately.
        waiting: Items that wait for a model call, by priority.
        shards: Shards that run here.
        breakers: Breakers of the neighbours and the endpoint.
        resources: What this process uses.
        calls_per_second: Model calls finished per second, lately.
    """

    endpoint: str
    elsewhere: Mapping[str, str]
    limit: int
    active: int
    lanes: Sequence[LaneReading]
    stages: Mapping[str, float]
    waiting: Mapping[Priority, int]
    shards: int
    breakers: Sequence[BreakerReading]
    resources: Resources
    calls_per_second: float

    def where(self, model: str) -> str:
        """Return where a model's calls go."""
        return self.elsewhere.get(model, self.endpoint)


class Capacity:
    """Reads how this replica stands."""

    def __init__(
        self,
        *,
        endpoint: str,
        elsewhere: Mapping[str, str],
        lanes: Lanes,
        stages: StageTimes,
        shards: Callable[[], int],
        breakers: Callable[[], Sequence[BreakerReading]],
        meter: ResourceMeter,
        calls: Throughput,
    ) -> None:
        self._endpoint = endpoint
        self._elsewhere = elsewhere
        self._lanes = lanes
        self._stages = stages
        self._shards = shards
        self._breakers = breakers
        self._meter = meter
        self._calls = calls

    def read(self) -> CapacityReading:
        """Return how it stands now."""
        return CapacityReading(
            endpoint=self._endpoint,
            elsewhere=self._elsewhere,
            limit=self._lanes.ceiling,
            active=self._lanes.calling,
            lanes=self._lanes.read(),
            stages=self._stages.shares(),
            waiting=self._lanes.waiting_by_priority(),
            shards=self._shards(),
            breakers=self._breakers(),
            resources=self._meter.read(),
            calls_per_second=self._calls.per_second(),
        )
