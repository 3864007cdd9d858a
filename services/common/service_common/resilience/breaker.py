"""A circuit breaker as a pure state machine: it is asked before a call and told after it.

Closed: calls pass, and the outcomes of the last `window_s` seconds are counted in buckets. Open: calls are
refused until a jittered time that doubles, up to a cap, with each failed trial. Half-open: a fixed few calls
pass; all must succeed to close it, one failure opens it again. The outcome of a call admitted before the last
change of state is ignored. Nothing here awaits, so no transition can interleave with another.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from service_common.clock import Clock


class BreakerState(Enum):
    """The states, numbered as the metric shows them."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and for how long.

    Attributes:
        window_s: How far back outcomes count.
        buckets: How finely the window slides.
        min_calls: Fewer outcomes than this never open it.
        failure_rate: Share of failures that opens it.
        open_s: How long the first opening lasts.
        open_cap_s: How long an opening lasts at most.
        jitter: Share by which an opening is randomly shortened, so that clients do not return in step.
        half_open_calls: How many trials pass, and must succeed, before it closes.
    """

    window_s: float = 10.0
    buckets: int = 10
    min_calls: int = 10
    failure_rate: float = 0.5
    open_s: float = 1.0
    open_cap_s: float = 8.0
    jitter: float = 0.3
    half_open_calls: int = 2

    def __post_init__(self) -> None:
        """Refuse a policy that could never work.

        Raises:
            ValueError: Naming the rule it breaks.
        """
        if min(self.window_s, self.open_s, self.buckets, self.min_calls, self.half_open_calls) <= 0:
            raise ValueError("durations and counts must be positive")
        if not (0 < self.failure_rate <= 1 and 0 <= self.jitter < 1 and self.open_cap_s >= self.open_s):
            raise ValueError("failure_rate in (0, 1], jitter in [0, 1), open_cap_s at least open_s")


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A breaker changed state.

    Attributes:
        name: The breaker's.
        before: The state left.
        after: The state entered.
        open_for_s: How long calls will be refused; 0 unless it opened.
    """

    name: str
    before: BreakerState
    after: BreakerState
    open_for_s: float = 0.0


Hook = Callable[[StateChanged], None]


@dataclass(slots=True)
class _Bucket:
    index: int
    calls: int = 0
    failures: int = 0


class CircuitBreaker:
    """Decides whether a call may be made.

    Its mutable state: the current state and its generation, the window's buckets, the trials given out.

    Attributes:
        name: Names it in events.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        *,
        clock: Clock,
        rng: random.Random,
        hooks: tuple[Hook, ...] = (),
    ) -> None:
        self.name = name
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._hooks = hooks
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._window: deque[_Bucket] = deque()
        self._open_until = 0.0
        self._openings = 0
        self._trials_left = 0
        self._trial_successes = 0
        self._forced = False

    @property
    def state(self) -> BreakerState:
        """The state as the next caller would find it."""
        self._expire()
        return self._state

    @property
    def admits(self) -> bool:
        """Whether a call would be admitted now."""
        half_open = self.state is BreakerState.HALF_OPEN
        return self._state is not BreakerState.OPEN and not (half_open and self._trials_left == 0)

    def admit(self) -> int | None:
        """Ask to make a call.

        Returns:
            A ticket to hand to exactly one of `succeeded`, `failed` and `abandoned`; None when refused.
        """
        self._expire()
        if self._state is BreakerState.OPEN:
            return None
        if self._state is BreakerState.HALF_OPEN:
            if self._trials_left == 0:
                return None
            self._trials_left -= 1
        return self._generation

    def succeeded(self, ticket: int) -> None:
        """Tell that the neighbour answered, be it with an error of the caller's making."""
        if ticket != self._generation:
            return
        if self._state is BreakerState.CLOSED:
            self._count(failures=0)
        elif self._state is BreakerState.HALF_OPEN:
            self._trial_successes += 1
            if self._trial_successes >= self._policy.half_open_calls:
                self._enter(BreakerState.CLOSED)

    def failed(self, ticket: int) -> None:
        """Tell that the neighbour did not answer, or broke."""
        if ticket != self._generation:
            return
        if self._state is BreakerState.CLOSED:
            self._count(failures=1)
            if not self._forced and self._too_many_failures():
                self._enter(BreakerState.OPEN)
        elif self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.OPEN)

    def abandoned(self, ticket: int) -> None:
        """Tell that the call says nothing about the neighbour: cancelled, or cut short by its own caller."""
        if ticket == self._generation and self._state is BreakerState.HALF_OPEN:
            self._trials_left += 1

    def retry_in_s(self) -> float:
        """Return the seconds until a refused caller may be admitted; 0 when it may be now."""
        if self.state is not BreakerState.OPEN:
            return 0.0
        return self._open_until - self._clock.monotonic()

    def force(self, state: BreakerState | None) -> None:
        """Hold it open or closed whatever happens; None lets it decide again, from closed.

        Raises:
            ValueError: For HALF_OPEN, which cannot be held.
        """
        if state is BreakerState.HALF_OPEN:
            raise ValueError("a breaker can be forced open or closed")
        self._forced = state is not None
        self._enter(state or BreakerState.CLOSED)
        if state is BreakerState.OPEN:
            self._open_until = float("inf")

    def _expire(self) -> None:
        if self._state is BreakerState.OPEN and self._clock.monotonic() >= self._open_until:
            self._enter(BreakerState.HALF_OPEN)

    def _enter(self, after: BreakerState) -> None:
        before, self._state = self._state, after
        self._generation += 1
        open_for_s = 0.0
        if after is BreakerState.OPEN:
            open_for_s = self._next_opening_s()
            self._open_until = self._clock.monotonic() + open_for_s
        elif after is BreakerState.HALF_OPEN:
            self._trials_left, self._trial_successes = self._policy.half_open_calls, 0
        else:
            self._window.clear()
            self._openings = 0
        event = StateChanged(self.name, before, after, open_for_s)
        for hook in self._hooks:
            hook(event)

    def _next_opening_s(self) -> float:
        grown = self._policy.open_s * 2.0 ** min(self._openings, 32)
        self._openings += 1
        return min(grown, self._policy.open_cap_s) * (1 - self._policy.jitter * self._rng.random())

    def _count(self, *, failures: int) -> None:
        index = self._bucket_index()
        if not self._window or self._window[-1].index != index:
            self._window.append(_Bucket(index))
        self._window[-1].calls += 1
        self._window[-1].failures += failures
        self._forget(index)

    def _forget(self, index: int) -> None:
        while self._window and self._window[0].index <= index - self._policy.buckets:
            self._window.popleft()

    def _bucket_index(self) -> int:
        return int(self._clock.monotonic() * self._policy.buckets / self._policy.window_s)

    def _too_many_failures(self) -> bool:
        calls = sum(bucket.calls for bucket in self._window)
        failures = sum(bucket.failures for bucket in self._window)
        return calls >= self._policy.min_calls and failures >= calls * self._policy.failure_rate

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r}, {self._state.name}, openings={self._openings})"
