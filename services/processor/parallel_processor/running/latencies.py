"""How fast a model can answer at best: what has less time left than that need not be asked."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import timedelta

from service_common.errors import ErrorKind, ServiceError

_NOW_OR_NEVER = "the job's deadline is too near for another call"
_KEPT = 32
_MAX_MODELS = 100


class Latencies:
    """The latest answers' latencies, by model."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, deque[float]] = OrderedDict()

    def observe(self, model: str, latency_s: float) -> None:
        """Take note of an answer."""
        latest = self._latest.get(model)
        if latest is None:
            latest = self._latest[model] = deque(maxlen=_KEPT)
            while len(self._latest) > _MAX_MODELS:
                self._latest.popitem(last=False)
        latest.append(latency_s)

    def check_time_left(self, model: str, left: timedelta) -> None:
        """Refuse a call that could not be answered in time.

        Raises:
            ServiceError: DEADLINE_EXCEEDED.
        """
        if left.total_seconds() <= self.fastest(model):
            raise ServiceError(ErrorKind.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", _NOW_OR_NEVER)

    def fastest(self, model: str) -> float:
        """Return the shortest of a model's latest latencies in seconds; 0 for one that has not answered."""
        return min(self._latest.get(model, ()), default=0.0)
