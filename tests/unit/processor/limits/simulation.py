"""A lane and an endpoint in simulated time: a backlog that never ends, and what became of its calls."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parallel_processor.limits.limiter import Limiter, Ticket

_REFUSAL_S = 0.005
_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a call.

    Attributes:
        at: When it ended.
        status: 200, or why it was refused.
        latency_s: How long it took.
    """

    at: float
    status: int
    latency_s: float


@dataclass
class Endpoint:
    """Serves `capacity(t)` calls at a time and refuses or queues the others.

    Attributes:
        capacity: Calls at a time, by time; 0 refuses everything.
        service_s: How long a call takes, drawn anew for each, with its output tokens.
        queues: Whether calls beyond wait instead of being refused.
        retry_after_s: Said with each refusal.
    """

    capacity: Callable[[float], int]
    service: Callable[[random.Random], tuple[float, int]] = lambda _rng: (0.2, 100)
    queues: bool = False
    retry_after_s: float | None = None
    running: int = 0
    waiting: deque[Call] = field(default_factory=deque)


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """A call on its way; ordered by when it ends."""

    ends: float
    number: int
    began: float = field(compare=False)
    ticket: Ticket = field(compare=False)
    status: int = field(compare=False)
    service_s: float = field(compare=False)
    tokens: int = field(compare=False)


class Simulation:
    """Runs a limiter against an endpoint with more work than can be done."""

    def __init__(self, endpoint: Endpoint, *, most: int = 256, seed: int = 1) -> None:
        self.now = 0.0
        self.endpoint = endpoint
        self._rng = random.Random(seed)
        self.limiter = Limiter(most=most, now=0.0, rng=random.Random(seed + 1))
        self.fates: list[Fate] = []
        self.limits: list[tuple[float, int]] = []
        self._ending: list[Call] = []
        self._number = 0

    def run(self, until: float) -> None:
        """Let time pass."""
        while self.now < until:
            self._begin_calls()
            upto = min(until, self.now + _TICK_S)
            if self._ending and self._ending[0].ends <= upto:
                self.now = max(self.now, self._ending[0].ends)
                self._end(heapq.heappop(self._ending))
            else:
                self.now = upto
            self._serve_waiting()
            self.limits.append((self.now, self.limiter.allowed(self.now)))

    def rate(self, start: float, stop: float) -> float:
        """Return calls answered per second."""
        return sum(each.status == 200 for each in self._between(start, stop)) / (stop - start)

    def refused(self, start: float, stop: float) -> int:
        """Return how many calls were refused."""
        return sum(each.status != 200 for each in self._between(start, stop))

    def refused_share(self, start: float, stop: float) -> float:
        """Return the share of calls that were refused."""
        return self.refused(start, stop) / max(1, len(self._between(start, stop)))

    def latency_s(self, start: float, stop: float) -> float:
        """Return the mean latency of answered calls."""
        answered = [each.latency_s for each in self._between(start, stop) if each.status == 200]
        return sum(answered) / len(answered)

    def _between(self, start: float, stop: float) -> Sequence[Fate]:
        return [each for each in self.fates if start <= each.at < stop]

    def _begin_calls(self) -> None:
        while self.limiter.in_flight < self.limiter.allowed(self.now):
            ticket = self.limiter.begin(self.limiter.in_flight + 1)
            self._number += 1
            service_s, tokens = self.endpoint.service(self._rng)
            if self.endpoint.running < self.endpoint.capacity(self.now):
                self._serve(Call(0, self._number, self.now, ticket, 200, service_s, tokens))
            elif self.endpoint.queues:
                self.endpoint.waiting.append(Call(0, self._number, self.now, ticket, 200, service_s, tokens))
            else:
                ends = self.now + _REFUSAL_S
                heapq.heappush(
                    self._ending, Call(ends, self._number, self.now, ticket, 429, service_s, tokens)
                )

    def _serve(self, call: Call) -> None:
        self.endpoint.running += 1
        heapq.heappush(
            self._ending,
            Call(
                self.now + call.service_s,
                call.number,
                call.began,
                call.ticket,
                200,
                call.service_s,
                call.tokens,
            ),
        )

    def _serve_waiting(self) -> None:
        while self.endpoint.waiting and self.endpoint.running < self.endpoint.capacity(self.now):
            self._serve(self.endpoint.waiting.popleft())

    def _end(self, call: Call) -> None:
        latency_s = self.now - call.began
        self.fates.append(Fate(self.now, call.status, latency_s))
        if call.status == 200:
            self.endpoint.running -= 1
            self.limiter.answered(call.ticket, self.now, latency_s=latency_s, output_tokens=call.tokens)
        else:
            self.limiter.refused(
                call.ticket, self.now, status=call.status, retry_after_s=self.endpoint.retry_after_s
            )
