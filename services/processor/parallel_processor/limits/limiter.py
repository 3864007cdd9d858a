"""How many calls at a time one endpoint bears for one model, learned from what becomes of them. Pure.

Growth is by steps that double while they hold (slow start), and only while the limit is what binds. Two
things end it. Refusals (429, 503, 529) lower the limit at once, and at most once for calls begun together, as
in TCP (Jacobson, "Congestion Avoidance and Control"). A round of calls that waited lowers it to what the
endpoint seems to work at and a square root of head room, as Netflix's Gradient2 and Envoy do. Either leaves a
ceiling: the level that was too much. The limit stays below it and tries it again when a refusal is cheap, at
the latest after `PROBE_AT_LATEST_S`. An endpoint that refuses even one call at a time is left alone for a
jittered while that doubles, and then asked by one call.
"""

from __future__ import annotations

import math
import random

from service_common.frozen import dataclass

from parallel_processor.limits.cause import Cause, Holding
from parallel_processor.limits.latency import LatencyFit

FIRST_LIMIT = 8
PROBE_AT_LATEST_S = 10.0
"""So soon a ceiling is tried again; within 30 s the limit is to be at a new capacity."""
PROBE_AFTER_ANSWERS = 400
"""So many answers pay for the refusal that trying a ceiling costs."""
PAUSE_S, PAUSE_CAP_S = 0.5, 4.0
"""How long an endpoint that refuses everything is left alone, at first and at most."""
RETRY_AFTER_CAP_S = 60.0
"""The longest pause that an endpoint's Retry-After makes; afterwards one call asks again."""

_ROUND = 0.75
"""How much of a round of calls is judged: those that end first are the short ones, and say too little."""
_BEFORE_ALL = -1
_FIRST_ROUND = 0.5
"""The same until something has held the limit: there is nothing to lose yet by a hasty step."""
_BACKOFF = 0.9
"""What is left of a limit that held before."""
_UNMOVED = 0.8
"""Calls that queued would be about half as slow with half as many under way."""
_REPEATED_BACKOFF = 0.7
"""What is left of one that was refused again before anything was answered."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that was begun.

    Attributes:
        generation: How often the limit had changed.
        in_flight: Calls under way, this one included.
        busy: Calls that were let begin, this one included.
    """

    generation: int
    in_flight: int
    busy: int


class Limiter:
    """Learns one limit.

    Its mutable state: the limit with its step, base and ceiling; the generation; what is known of the calls
    begun in it; the pause; and why the limit is what it is.

    Attributes:
        limit: The most calls at a time.
        in_flight: Calls under way.
        holding: What set the limit, and when.
    """

    def __init__(self, *, most: int, now: float, rng: random.Random) -> None:
        self.limit = min(FIRST_LIMIT, most)
        self.in_flight = 0
        self.holding = Holding(Cause.STARTING, now)
        self._most = most
        self._rng = rng
        self._fit = LatencyFit()
        self._step = self.limit  # the next raise is so much
        self._base = 0  # the limit before the last raise
        self._ceiling: int | None = None
        self._proven = 0  # calls in flight that were answered
        self._generation = 0
        self._lowered = 0  # the generation that the last lowering began
        self._held = 0  # calls of this generation that used its room and were answered
        self._answers = 0  # since the last trouble
        self._trouble_at = now
        self._refused_again = False  # whether nothing begun since the last lowering was answered
        self._slow: tuple[float, int] | None = None  # slowdown and limit that made the last lowering
        self._before = self.limit  # the limit that held before refusals began
        self._pause_s = PAUSE_S
        self._paused_until = 0.0
        self._suspended = False

    @property
    def paused_until(self) -> float:
        """Until when no call is to begin."""
        return self._paused_until

    @property
    def suspended(self) -> bool:
        """Whether the endpoint refused even one call at a time, and is asked by one call now and then."""
        return self._suspended

    def allowed(self, now: float) -> int:
        """Return how many calls may be under way now."""
        return 0 if now < self._paused_until else self.limit

    def begin(self, busy: int) -> Ticket:
        """Take note of a call that begins; tell its end by exactly one of the four below."""
        self.in_flight += 1
        # More than the limit were let call before it was lowered: what they meet is no news.
        generation = self._generation if busy <= self.limit else _BEFORE_ALL
        return Ticket(generation, self.in_flight, busy)

    def ended(self, _ticket: Ticket) -> None:
        """Take note of a call that says nothing about the endpoint's capacity."""
        self.in_flight -= 1

    def answered(self, ticket: Ticket, now: float, *, latency_s: float, output_tokens: int) -> None:
        """Take note of a call that was answered."""
        self.in_flight -= 1
        self._answers += 1
        if ticket.generation < self._lowered:
            return
        self._refused_again = False
        if self._suspended:
            self._recover(now)
            return
        self._proven = max(self._proven, ticket.in_flight)
        if ticket.generation == self._generation:
            self._fit.add(latency_s, output_tokens)
            if ticket.busy > self._base:
                self._held += 1
                self._judge(now)

    def refused(self, ticket: Ticket, now: float, *, status: int | None, retry_after_s: float | None) -> None:
        """Take note of a call that was turned away for lack of capacity."""
        self.in_flight -= 1
        if ticket.generation < self._lowered:
            return
        again, self._refused_again = self._refused_again, True
        if not again and not self._suspended:
            self._before = self.limit
        holding = Holding(Cause.REFUSED, now, status)
        if self.limit == 1 or self._suspended:
            self._suspend(now, holding, retry_after_s)
            return
        if again:
            self._lower(int(self.limit * _REPEATED_BACKOFF), holding, ceiling=self._ceiling)
            if retry_after_s:
                self._paused_until = now + min(retry_after_s, RETRY_AFTER_CAP_S)
            return
        bears = self._bears(ticket)
        self._proven = min(self._proven, ticket.in_flight - 1)
        self._lower(bears, holding, ceiling=min(self.limit, max(bears, ticket.in_flight - 1) + 1))

    def timed_out(self, ticket: Ticket, now: float) -> None:
        """Take note of a call that was not answered in time: the endpoint may have too much to do."""
        self.in_flight -= 1
        if ticket.generation >= self._lowered and self.limit > 1:
            self._lower(int(self.limit * _BACKOFF), Holding(Cause.TIMEOUTS, now), ceiling=self.limit)

    def _bears(self, refused: Ticket) -> int:
        """Return what is borne for all that a refusal says."""
        below = refused.in_flight - 1
        if below >= self._proven:  # a new level was too much: the one below it was not
            return self._base + below - self._proven
        return max(int(self.limit * _REPEATED_BACKOFF), min(below, int(self.limit * _BACKOFF)))

    def _judge(self, now: float) -> None:
        """Raise or lower the limit once enough calls have used it."""
        if self._held < max(2, (self.limit - self._base) // 2):
            return
        part = _FIRST_ROUND if self.holding.cause is Cause.STARTING else _ROUND
        if self._fit.round_calls < part * self.limit:
            return
        if self._fit.is_slow:
            self._slowed(now)
        elif self.limit >= self._most:
            self._end_round(self.limit - 1)
            self._ceiling = None
            if self.holding.cause is not Cause.MOST:
                self.holding = Holding(Cause.MOST, now)
        elif self._ceiling is None or self.limit + 1 < self._ceiling or self._probe_is_due(now):
            self._raise(now)
        elif self._held >= 2 * self.limit:
            self._fit.end_round()
            self._held = 0

    def _probe_is_due(self, now: float) -> bool:
        return self._answers >= PROBE_AFTER_ANSWERS or now - self._trouble_at >= PROBE_AT_LATEST_S

    def _raise(self, now: float) -> None:
        if self._ceiling is not None and self.limit + 1 >= self._ceiling:
            if self.limit >= self._ceiling:
                self._ceiling = None  # the level that was too much no longer is
                self._step = max(2, self.limit // 8)
            else:
                self._step = 1
        wanted = min(self.limit + self._step, self._most)
        if self._ceiling is not None and self.limit + 1 < self._ceiling:
            wanted = min(wanted, self._ceiling - 1)
        elif self._ceiling is None and self.holding.cause is not Cause.STARTING:
            self.holding = Holding(Cause.GROWING, now)
        base, self.limit = self.limit, wanted
        self._step = min(self._step * 2, self.limit)
        self._end_round(base)

    def _slowed(self, now: float) -> None:
        slowdown = self._fit.slowdown
        if self._slow is not None and self._unmoved(slowdown, self._slow):
            self._accept(self._slow[1])
            return
        if self.limit == 1:  # it waits for no other of ours: what is slow is the endpoint
            self._ceiling = None
            self._accept(1)
            return
        self._fit.waited()
        works_at = self.limit / slowdown
        bears = max(self.limit // 2, math.ceil(works_at + math.sqrt(works_at)))
        if bears >= self.limit:
            bears = self.limit - 1
        if self._slow is None or slowdown > self._slow[0]:
            self._slow = slowdown, self.limit
        self._lower(bears, Holding(Cause.QUEUEING, now), ceiling=self.limit)

    def _unmoved(self, slowdown: float, slow: tuple[float, int]) -> bool:
        """Whether calls are as slow as before though half as many are under way: then they do not queue."""
        before, limit = slow
        return self.limit <= limit / 2 and before * _UNMOVED < slowdown < before / _UNMOVED

    def _accept(self, limit: int) -> None:
        """Take the endpoint's pace as it is, and go back to a limit that it was not too much for."""
        self._fit.accept()
        self._slow = None
        self._end_round(min(self.limit, limit - 1))
        self.limit = limit

    def _lower(self, limit: int, holding: Holding, *, ceiling: int | None) -> None:
        self.limit = max(1, min(limit, self.limit - 1))
        self.holding = holding
        self._ceiling = None if ceiling is None else max(ceiling, self.limit + 1)
        self._step = 1
        self._trouble_at, self._answers = holding.since, 0
        self._end_round(self.limit - 1)
        self._lowered = self._generation

    def _end_round(self, base: int) -> None:
        self._generation += 1
        self._base = base
        self._held = 0
        if self._fit.round_calls and not self._fit.is_slow:
            self._slow = None
        self._fit.end_round()

    def _suspend(self, now: float, holding: Holding, retry_after_s: float | None) -> None:
        self._suspended = True
        self.limit = 1
        self.holding = holding
        asked_s = min(retry_after_s or 0.0, RETRY_AFTER_CAP_S)
        self._paused_until = now + max(asked_s, self._pause_s * self._rng.uniform(0.5, 1.0))
        self._pause_s = min(2 * self._pause_s, PAUSE_CAP_S)
        self._end_round(0)
        self._lowered = self._generation

    def _recover(self, now: float) -> None:
        self._suspended = False
        self._pause_s = PAUSE_S
        self.limit = max(1, self._before // 2)
        self._ceiling = max(self._before, self.limit) + 1
        self._step = max(1, self.limit // 2)
        self._trouble_at, self._answers = now, 0
        self.holding = Holding(Cause.GROWING, now)
        self._end_round(0)
