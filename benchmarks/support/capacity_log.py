"""What an endpoint of known capacity saw of a client, by its own log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import orjson

_OK, _LEFT = 200, 499
_WINDOW_S = 2.0
_STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, in seconds since the capacity was set.

    Attributes:
        arrived: When it came.
        ended: When it was answered.
        status: How.
    """

    arrived: float
    ended: float
    status: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A time in which the capacity does not change.

    Attributes:
        start: When it begins, in seconds.
        stop: When it ends.
        concurrent: Calls the endpoint serves at a time.
    """

    start: float
    stop: float
    concurrent: int


class CapacityLog:
    """The endpoint's log, cut to one scenario.

    Args:
        seen: All requests.
        phases: What the endpoint bore.
        service_s: How long it takes for a call on average.
    """

    def __init__(self, seen: Sequence[Seen], phases: Sequence[Phase], *, service_s: float) -> None:
        self._seen = [each for each in seen if each.arrived >= 0 and each.status != _LEFT]
        self._phases = phases
        self._service_s = service_s

    @staticmethod
    def read(log: Path, phases: Sequence[Phase], *, since: float, service_s: float | None) -> CapacityLog:
        """Read a log; service_s of an endpoint that does not queue is what answered calls took."""
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        seen = [Seen(each["arrived"] - since, each["time"] - since, each["status"]) for each in lines]
        if service_s is None:
            took = [each.ended - each.arrived for each in seen if each.status == _OK]
            service_s = sum(took) / len(took)
        return CapacityLog(seen, phases, service_s=service_s)

    def throughput_share(self, start: float, stop: float) -> float:
        """Return answers beside those of an oracle that always keeps the endpoint just full."""
        oracle = sum(
            max(0.0, min(stop, each.stop) - max(start, each.start)) * each.concurrent / self._service_s
            for each in self._phases
        )
        return self._answers(start, stop) / oracle

    def refused_share(self, *, settling_s: float = 10.0) -> float:
        """Return the share of requests refused, but for the time after each phase began."""
        calm = [
            seen
            for each in self._phases
            for seen in self._seen
            if each.start + settling_s <= seen.arrived < each.stop
        ]
        return sum(each.status != _OK for each in calm) / max(1, len(calm))

    def reached_in_s(self, phase: Phase, part: float = 0.9) -> float:
        """Return how soon two seconds used such a part of a phase's capacity; its length if none did."""
        wanted = part * phase.concurrent / self._service_s * _WINDOW_S
        at = phase.start
        while at + _WINDOW_S <= phase.stop:
            if self._answers(at, at + _WINDOW_S) >= wanted:
                return at + _WINDOW_S - phase.start
            at += _STEP_S
        return phase.stop - phase.start

    def refused_per_s(self, start: float, stop: float) -> float:
        """Return the rate of refusals."""
        refused = sum(each.status != _OK and start <= each.arrived < stop for each in self._seen)
        return refused / (stop - start)

    def longest_silence_s(self, start: float, stop: float) -> float:
        """Return the longest time in which nothing was asked."""
        times = sorted(each.arrived for each in self._seen if start <= each.arrived < stop)
        marks = [start, *times, stop]
        return max(later - earlier for earlier, later in pairwise(marks))

    def slowdown(self, start: float, stop: float) -> float:
        """Return how many times longer answered calls took than they are served."""
        took = [
            each.ended - each.arrived
            for each in self._seen
            if each.status == _OK and start <= each.ended < stop
        ]
        return sum(took) / max(1, len(took)) / self._service_s

    def _answers(self, start: float, stop: float) -> int:
        return sum(each.status == _OK and start <= each.ended < stop for each in self._seen)
