"""The lane to one model of the endpoint: its slots, its limiter, and what becomes of its calls."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from service_common.clock import Clock

from parallel_processor.limits.cause import Cause, Holding
from parallel_processor.limits.limiter import Limiter, Ticket
from parallel_processor.limits.rates import Rates
from parallel_processor.model.failures import FailureClass, ModelFailure
from parallel_processor.model.rate_headers import RateHints
from parallel_processor.model.requests import ModelReply
from parallel_processor.queueing.slots import OnTurn, Slots

_NO_CAPACITY = frozenset({FailureClass.RATE_LIMITED, FailureClass.OVERLOADED})


_LONGEST_PREPARED_S = 0.05
"""A cache that takes longer is not made up for: too many leases would be held by calls that wait."""


class MovingAverage:
    """How long something takes of late, as a moving average; 0 before the first."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Take note of one more."""
        self.seconds += (seconds - self.seconds) * (0.05 if self.seconds else 1.0)


@dataclass(frozen=True, slots=True)
class LaneReading:
    """How a lane stands.

    Attributes:
        model: The model.
        limit: How many calls it may have under way; 0 while it pauses.
        active: Slots taken, of calls in preparation too.
        in_flight: Calls under way.
        waiting: Callers that wait for a slot.
        cause: What holds the limit.
        since_s: How many seconds ago that was.
        status: The HTTP status of the refusal, where it was one.
        pause_s: For how long no call will begin; 0 unless it pauses.
    """

    model: str
    limit: int
    active: int
    in_flight: int
    waiting: int
    cause: Cause
    since_s: float
    status: int | None
    pause_s: float


class Lane:
    """One lane. Its mutable state: slots, limiter, rates, and how many wait.

    Attributes:
        model: The model.
        slots: Who may call next.
        waiting: Callers that wait for a slot.
        preparing: How long calls take from their turn until they could begin.
        calling: How long they take from then on.
        shared: Whether others' calls, not its own limiter, kept it from more the last time it was set.
    """

    def __init__(
        self,
        model: str,
        *,
        most: int,
        clock: Clock,
        rng: random.Random,
        tenant_weights: Mapping[str, float] | None = None,
        on_turn: OnTurn | None = None,
    ) -> None:
        self.model = model
        self.waiting = 0
        self.preparing, self.calling = MovingAverage(), MovingAverage()
        self.shared: Holding | None = None
        self._clock = clock
        self._limiter = Limiter(most=most, now=clock.monotonic(), rng=rng)
        self._rates = Rates()
        self.slots = Slots(self._limiter.limit, clock=clock, tenant_weights=tenant_weights, on_turn=on_turn)

    @property
    def idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return not (self.slots.active or self.waiting or self._limiter.in_flight)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free and nobody waits for it."""
        return self.slots.active < self.slots.limit and not self.waiting

    def has_slot(self, now: float) -> bool:
        """Whether its own limiter lets one more have a slot."""
        return self.slots.active < self.allowed(self.slots.active, now)

    def begin(self) -> Ticket:
        """Take note of a call that begins; tell its end by exactly one of the three below."""
        self._rates.begin(self._clock.monotonic())
        return self._limiter.begin(self.slots.calling)

    def answered(self, ticket: Ticket, reply: ModelReply) -> None:
        """Take note of an answer."""
        self._rates.answered(reply.prompt_tokens + reply.output_tokens)
        self._limiter.answered(
            ticket, self._clock.monotonic(), latency_s=reply.latency_s, output_tokens=reply.output_tokens
        )

    def failed(self, ticket: Ticket, failure: ModelFailure) -> None:
        """Take note of a failure."""
        kind = failure.failure_class
        if kind in _NO_CAPACITY:
            self._limiter.refused(
                ticket, self._clock.monotonic(), status=failure.status, retry_after_s=failure.retry_after_s
            )
        elif kind is FailureClass.TIMEOUT:
            self._limiter.timed_out(ticket, self._clock.monotonic())
        else:
            self._limiter.ended(ticket)

    def abandoned(self, ticket: Ticket) -> None:
        """Take note of a call that was cut off from here."""
        self._limiter.ended(ticket)

    def heard(self, hints: RateHints, *, asked_at: float) -> None:
        """Take note of what the headers of the answer to a call made then say of rates; before its end."""
        self._rates.observe(hints, self._clock.monotonic(), asked_at=asked_at)

    def allowed(self, active: int, now: float) -> int:
        """Return how many slots there are now, when so many are taken."""
        allowed = self._limiter.allowed(now)
        if self._rates.known and (more := self._rates.bears(now)) is not None:
            not_yet_begun = max(0, active - self._limiter.in_flight)
            allowed = min(allowed, active + max(0, more - not_yet_begun))
        return allowed

    def ahead(self, limit: int) -> int:
        """Return how many calls to prepare beyond the limit, so that it is kept full, by Little's law."""
        if self._rates.known or not self.calling.seconds:
            return 0
        prepared_s = min(self.preparing.seconds, _LONGEST_PREPARED_S)
        return min(limit, round(limit * prepared_s / self.calling.seconds))

    def wake_in_s(self, now: float) -> float | None:
        """Return when more may be allowed though nothing happens; None for never."""
        pause_s = self._limiter.paused_until - now
        if pause_s > 0:
            return pause_s
        if self._rates.known and self._rates.bears(now) == 0:
            return self._rates.bears_one_in_s(now)
        return None

    def read(self) -> LaneReading:
        """Return how it stands."""
        now = self._clock.monotonic()
        limit = self._limiter.allowed(now)
        holding = self._limiter.holding
        pause_s = max(0.0, self._limiter.paused_until - now)
        if not pause_s and self._rates.known and self._rates.bears(now) == 0:
            holding, limit, pause_s = Holding(Cause.RATE, now), 0, self._rates.bears_one_in_s(now)
        elif self.shared is not None and self.slots.limit < limit:
            holding, limit = self.shared, self.slots.limit
        return LaneReading(
            self.model,
            limit,
            self.slots.active,
            self._limiter.in_flight,
            self.waiting,
            holding.cause,
            now - holding.since,
            holding.status,
            pause_s,
        )
