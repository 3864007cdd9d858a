"""A call and its second: who is heard, who is cancelled, and that every call is accounted for once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.piece import Usage
from parallel_processor.limits.lanes import Hold, Lanes
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.prices import ModelPrice, PriceTable
from parallel_processor.model.requests import Message, ModelReply, ModelRequest
from parallel_processor.queueing.slots import Rank
from parallel_processor.running.breakers import Breakers
from parallel_processor.running.calls import Answer, ModelCalls
from parallel_processor.running.hedges import Hedges
from parallel_processor.running.hedging import HedgedCalls, Spare
from service_common.clock import ManualClock
from service_common.errors import failed_precondition
from service_common.resilience.breaker import BreakerPolicy, CircuitBreaker

from tests.unit.processor.running.fakes import failure, settle, until

REQUEST = ModelRequest("m", (Message("user", "hi"),), 50)


@dataclass
class Endpoint:
    """An endpoint whose calls the test drives one by one.

    Attributes:
        hearers: Who hears each call, in order.
        ends: How each call ends: with a text or a failure.
        left: The calls that were cancelled.
    """

    hearers: list[Callable[[str], None]] = field(default_factory=list)
    ends: list[asyncio.Future[str]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Is not asked here."""
        raise NotImplementedError

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Begin a call."""
        number = len(self.ends)
        self.hearers.append(on_text)
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            text = await self.ends[number]
        except asyncio.CancelledError:
            self.left.append(number)
            raise
        return ModelReply(text, request.model, False, 100, 10, 1.0, first_token_s=0.5)


@dataclass
class Bench:
    """Hedged calls with everything around them.

    Attributes:
        room: Whether there is a slot for a second call.
        affordable: Whether it may be paid.
        lost: What calls took that were not needed.
        won: Of each second call, whether it brought the answer.
        heard: The text that was passed on.
        usual_s: How long the first token usually takes.
    """

    endpoint: Endpoint = field(default_factory=Endpoint)
    room: bool = True
    affordable: bool = True
    lost: list[Usage] = field(default_factory=list)
    won: list[bool] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    holding: int = 0
    usual_s: float = 0.001
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        clock = self.clock
        rng = random.Random(1)
        breakers = Breakers(lambda model: CircuitBreaker(model, BreakerPolicy(), clock=clock, rng=rng))
        price = ModelPrice(1_000_000, 1_000_000)
        lanes = self.lanes = Lanes(64, clock=clock, rng=rng)
        self.calls = ModelCalls(
            self.endpoint, prices=PriceTable({"m": price}), breakers=breakers, lanes=lanes
        )
        self.hedges = Hedges(1.0)
        for _ in range(20):
            self.hedges.began("m", self.usual_s)
        self.hedged = HedgedCalls(self.calls, self.hedges, clock=clock, on_hedge=self.won.append)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Hold]:
        """Hold a slot."""
        self.holding += 1
        try:
            async with self.lanes.hold("m", Rank.of(Priority.NORMAL, self.clock.now())) as held:
                yield held
        finally:
            self.holding -= 1

    async def afford(self) -> None:
        """Pay for two calls, or not."""
        if not self.affordable:
            raise failed_precondition("MAX_COST_EXCEEDED", "too much")

    def begin(self) -> asyncio.Task[Answer]:
        """Make a call."""
        spare = Spare(room=lambda: self.room, slot=self.slot, afford=self.afford, lost=self.lost.append)
        return asyncio.create_task(self.hedged.call(REQUEST, self.heard.append, spare))

    async def begin_two(self) -> asyncio.Task[Answer]:
        """Make a call that gets a second one."""
        call = self.begin()
        await until(lambda: len(self.endpoint.ends) == 2)
        return call


def uncertain(bench: Bench) -> Usage:
    """Return what one call of unknown fate counts as."""
    return bench.calls.uncertain(REQUEST)


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_to_write_is_heard_and_the_other_cancelled(winner: int) -> None:
    """Text of one call only is passed on; the other ends at once and counts at its worst case."""
    bench = Bench()
    call = await bench.begin_two()
    bench.endpoint.hearers[winner]("one ")
    bench.endpoint.hearers[1 - winner]("never heard")
    await settle()
    assert bench.endpoint.left == [1 - winner]
    bench.endpoint.hearers[winner]("two")
    bench.endpoint.ends[winner].set_result("one two")

    assert (await call).reply.text == "one two"
    assert bench.heard == ["one ", "two"]
    assert bench.lost == [uncertain(bench)]
    assert bench.won == [winner == 1]
    assert bench.holding == 0


async def test_a_call_that_writes_in_time_stays_alone() -> None:
    """No second call for one that has begun, however long it takes to end."""
    bench = Bench(usual_s=0.2)  # time enough to write on a busy machine
    call = bench.begin()
    await settle()
    bench.endpoint.hearers[0]("one")
    await asyncio.sleep(0.25)
    bench.endpoint.ends[0].set_result("one")
    await call
    assert len(bench.endpoint.ends) == 1
    assert not bench.lost
    assert not bench.won


@pytest.mark.parametrize("obstacle", ["room", "affordable", "credit", "times"])
async def test_what_a_second_call_needs(obstacle: str) -> None:
    """Without a free slot, the money, the credit or the knowledge there is none, and its credit is kept."""
    bench = Bench()
    if obstacle == "credit":
        bench.hedges = Hedges(0.01)
        bench.hedged = HedgedCalls(bench.calls, bench.hedges, clock=ManualClock(), on_hedge=bench.won.append)
        for _ in range(20):
            bench.hedges.began("m", 0.001)
    elif obstacle == "times":
        bench.hedged = HedgedCalls(bench.calls, Hedges(1.0), clock=ManualClock(), on_hedge=bench.won.append)
    else:
        setattr(bench, obstacle, False)
    call = bench.begin()
    await asyncio.sleep(0.02)
    bench.endpoint.ends[0].set_result("text")
    assert (await call).reply.text == "text"
    assert len(bench.endpoint.ends) == 1
    assert not bench.lost
    assert not bench.won
    assert bench.holding == 0
    if obstacle in ("room", "affordable"):
        assert bench.hedges.take()


async def test_a_call_that_fails_leaves_it_to_the_other() -> None:
    """One failure is told with what it took, and the other's answer is the answer."""
    bench = Bench()
    call = await bench.begin_two()
    bench.endpoint.ends[0].set_exception(failure(FailureClass.TIMEOUT, Fate.BILLED))
    await settle()
    bench.endpoint.ends[1].set_result("text")

    assert (await call).reply.text == "text"
    assert bench.lost == [Usage(100, 3, 1, 103)]
    assert bench.won == [True]


async def test_both_may_fail() -> None:
    """The last failure is the caller's, the other is told: each is accounted for once."""
    bench = Bench()
    call = await bench.begin_two()
    bench.endpoint.ends[0].set_exception(failure(FailureClass.SERVER_ERROR, Fate.UNKNOWN))
    await settle()
    bench.endpoint.ends[1].set_exception(failure(FailureClass.OVERLOADED))

    with pytest.raises(ModelFailure) as caught:
        await call
    assert caught.value.failure_class is FailureClass.OVERLOADED
    assert bench.lost == [uncertain(bench)]
    assert bench.won == [False]


async def test_a_failure_before_the_second_is_the_answer() -> None:
    """A call that fails at once has no second: repeating is for those who treat failures."""
    bench = Bench()
    call = bench.begin()
    await settle()
    bench.endpoint.ends[0].set_exception(failure(FailureClass.OVERLOADED))
    with pytest.raises(ModelFailure):
        await call
    assert len(bench.endpoint.ends) == 1


async def test_a_cancel_ends_both() -> None:
    """Both calls are cut off; one is the caller's to account for, the other is told."""
    bench = Bench()
    call = await bench.begin_two()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert sorted(bench.endpoint.left) == [0, 1]
    assert bench.lost == [uncertain(bench)]
    assert bench.holding == 0


async def test_slow_calls_that_were_given_up_count_as_slow() -> None:
    """A first call that lost counts as that slow, or slow calls would look rare."""
    bench = Bench()
    call = await bench.begin_two()
    bench.clock.advance(5.0)
    bench.endpoint.hearers[1]("text")
    bench.endpoint.ends[1].set_result("text")
    await call
    assert bench.hedges.wait_s("m") == 0.5  # of twenty-two times the second largest; the largest is 5 s
