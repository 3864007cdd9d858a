"""The token buckets against an endpoint that keeps its own: told its rate, a lane is not refused once."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.limits.rates import Rates
from parallel_processor.model.rate_headers import RateHints, rate_hints

from tests.support.mock_capacity import Capacity, Plan

_TOKENS = 90
_TODAY = datetime(2026, 11, 26, tzinfo=UTC)

_IDLE_S = (0.0, 0.004, 0.05, 1.0, 30.0)
_THERE_S = (0.0, 0.001, 0.02, 0.25)
_SERVING_S = (0.0, 0.02, 0.6, 2.0, 20.0)
_BACK_S = (0.0, 0.02, 2.0)


class World:
    """One caller, one endpoint, and what is on its way between them. Its mutable state: all three.

    Attributes:
        now: The time.
        rates: What the caller knows.
        in_flight: Calls under way.
        refused: Calls that were, of those made since the rate was told.
    """

    def __init__(self, plan: Plan) -> None:
        self.now = 0.0
        self.rates = Rates()
        self.rates.answered(_TOKENS)
        self.in_flight = self.refused = 0
        self._endpoint = Capacity(plan, 0.0)
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def call(self, there_s: float, serving_s: float, back_s: float) -> None:
        """Begin a call that arrives, is answered and comes back after such times."""
        told = self.rates.known
        self.rates.begin(self.now)
        self.in_flight += 1
        asked_at = self.now
        self._later(there_s, lambda: self._arrive(asked_at, serving_s, back_s, told=told))

    def pass_time(self, until: float) -> None:
        """Let everything happen that is due."""
        while self._coming and self._coming[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._coming)
            happen()
        self.now = until

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (self.now + seconds, next(self._numbers), happen))

    def _arrive(self, asked_at: float, serving_s: float, back_s: float, *, told: bool) -> None:
        if self._endpoint.admit(_TOKENS, self.now) == "begin":
            self._later(serving_s, lambda: self._answer(asked_at, back_s))
        else:
            self.refused += told
            self._answer(asked_at, back_s)

    def _answer(self, asked_at: float, back_s: float) -> None:
        lines = (line.split(": ", 1) for line in self._endpoint.headers(self.now))
        hints = rate_hints(dict(lines), now=_TODAY)
        self._later(back_s, lambda: self._hear(asked_at, hints))

    def _hear(self, asked_at: float, hints: RateHints | None) -> None:
        self.in_flight -= 1
        if hints is not None:
            self.rates.observe(hints, self.now, asked_at=asked_at)


@given(
    plan=st.builds(
        Plan,
        requests_per_minute=st.sampled_from([60.0, 1200.0, 6000.0]),
        tokens_per_minute=st.none() | st.sampled_from([20_000.0, 150_000.0]),
        burst_s=st.sampled_from([2.0, 60.0]),
        headers=st.just("openai"),
    ),
    first=st.integers(1, 4),
    most=st.sampled_from([1, 8, 32]),
    seed=st.integers(0, 10**6),
)
def test_an_endpoint_that_tells_its_rate_never_refuses(plan: Plan, first: int, most: int, seed: int) -> None:
    """However long calls take, there by a quarter of a second, and however long none was made before."""
    world, rng = World(plan), random.Random(seed)
    for _ in range(first):
        _call(world, rng)
    while not world.rates.known:
        world.pass_time(world.now + 0.01)
    for _ in range(150):
        world.pass_time(world.now + rng.choice(_IDLE_S))
        for _ in range(min(most - world.in_flight, world.rates.bears(world.now) or 0)):
            _call(world, rng)
    world.pass_time(world.now + 60.0)
    assert world.refused == 0


def _call(world: World, rng: random.Random) -> None:
    world.call(*(rng.choice(each) for each in (_THERE_S, _SERVING_S, _BACK_S)))
