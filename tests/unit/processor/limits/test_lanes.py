"""Lanes: each as wide as its endpoint bears, together never above the ceiling, none kept out, none stuck."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import Lane
from parallel_processor.limits.limiter import FIRST_LIMIT
from parallel_processor.model.rate_headers import Allowance, RateHints
from service_common.clock import ManualClock, SystemClock

from tests.unit.processor.limits.holders import RANK, Holder, lanes_of, refusal, reply, settle


def _full_round(lane: Lane) -> None:
    """Let as many calls as there are slots be answered."""
    calls = [lane.begin() for _ in range(lane.slots.limit)]
    for call in calls:
        lane.answered(call, reply())


async def test_a_lane_widens_while_its_calls_are_answered() -> None:
    """Answers of calls that used all slots let more callers in, up to the ceiling."""
    lanes = lanes_of(12)
    holders = [Holder(lanes, "m") for _ in range(40)]
    await settle()
    assert lanes.active == FIRST_LIMIT
    _full_round(lanes.of("m"))
    await holders[0].let_go()
    await settle()
    assert (lanes.active, lanes.waiting) == (12, 27)
    for each in holders:
        each.task.cancel()


async def test_arefusal_narrows_it_at_once() -> None:
    """The slot of the refused call is not given to the next."""
    lanes = lanes_of()
    holders = [Holder(lanes, "m") for _ in range(20)]
    await settle()
    lane = lanes.of("m")
    calls = [lane.begin() for _ in range(FIRST_LIMIT)]
    lane.failed(calls[-1], refusal())
    await holders[0].let_go()
    await settle()
    assert lanes.active == FIRST_LIMIT - 1
    assert lanes.read()[0].cause is Cause.REFUSED
    for each in holders:
        each.task.cancel()


async def test_a_pause_ends_by_itself() -> None:
    """A lane whose endpoint refuses even one call lets one more through after its pause, without a call."""
    lanes = lanes_of(1, SystemClock())
    lane = lanes.of("m")
    async with lanes.hold("m", RANK):
        lane.failed(lane.begin(), refusal(retry_after_s=0.05))
    next_one = Holder(lanes, "m")
    await settle()
    assert not next_one.holding
    assert lanes.read()[0].pause_s > 0
    async with asyncio.timeout(10):
        while not next_one.holding:  # noqa: ASYNC110 - the lane announces nothing
            await asyncio.sleep(0.01)
    await next_one.let_go()


async def test_rates_let_in_what_they_bear() -> None:
    """With three requests left, three go in; those that hold a slot without a call yet count as well."""
    clock = ManualClock()
    lanes = lanes_of(64, clock)
    lanes.of("m").heard(RateHints(Allowance(600, 3, 59.7), None), asked_at=0.0)
    holders = [Holder(lanes, "m") for _ in range(10)]
    await settle()
    assert lanes.active == 3
    assert lanes.of("m").wake_in_s(0.0) is None  # the three have not taken theirs yet
    for _ in range(3):
        lanes.of("m").begin()
    assert lanes.read()[0].cause is Cause.RATE
    clock.advance(0.2)  # ten a second
    lanes.refresh(lanes.of("m"))
    await settle()
    assert lanes.active == 5
    for each in holders:
        each.task.cancel()


async def test_rates_fill_without_a_call() -> None:
    """A lane that waits for its rate wakes when there is room."""
    lanes = lanes_of(64, SystemClock())
    lanes.of("m").heard(RateHints(Allowance(1200, 0, 60.0), None), asked_at=0.0)
    async with asyncio.timeout(10), lanes.hold("m", RANK):
        pass


async def test_rates_fill_beside_another_lane_too() -> None:
    """A lane that waits for its rate or its pause wakes by itself, whatever goes on in another one."""
    lanes = lanes_of(64, SystemClock())
    other = Holder(lanes, "other")
    await settle()
    lanes.of("rated").heard(RateHints(Allowance(1200, 0, 60.0), None), asked_at=0.0)
    lanes.of("paused").failed(lanes.of("paused").begin(), refusal(retry_after_s=0.05))
    async with asyncio.timeout(10):
        for model in ("rated", "paused"):
            async with lanes.hold(model, RANK) as held:
                await held.begin()
    assert other.holding
    await other.let_go()


class _CreepingClock(ManualClock):
    """A clock that goes on a little with every look at it."""

    def monotonic(self) -> float:
        """Return a time a little after the last."""
        self.advance(0.003)
        return super().monotonic()


async def test_no_wake_is_lost_between_two_looks_at_the_clock() -> None:
    """Room that appears while a lane is being looked at is not missed for ever."""
    lanes = lanes_of(64, _CreepingClock())
    lane = lanes.of("m")
    lane.heard(RateHints(Allowance(6000, 0, 60.0), None), asked_at=0.0)
    async with asyncio.timeout(20):
        for _ in range(100):
            async with lanes.hold("m", RANK):
                lane.answered(lane.begin(), reply())


async def test_pressure_lowers_the_ceiling_and_gives_it_back() -> None:
    """Nobody loses a slot, but none is given out above the new ceiling; back up, the waiting go on."""
    lanes = lanes_of(8)
    holders = [Holder(lanes, "m") for _ in range(20)]
    await settle()
    lanes.press(2, Cause.MEMORY)
    assert lanes.active == 8
    reading = lanes.read()[0]
    assert (reading.limit, reading.cause) == (2, Cause.MEMORY)
    for each in [each for each in holders if each.holding]:
        await each.let_go()
    await settle()
    assert lanes.active == 2
    lanes.press(8, Cause.MOST)
    await settle()
    assert lanes.active == 8
    for each in holders:
        each.task.cancel()


async def test_idle_lanes_are_forgotten() -> None:
    """Callers name models; a thousand names do not stay for ever, and a lane in use does."""
    lanes = lanes_of()
    used = Holder(lanes, "used")
    await settle()
    for number in range(1000):
        lanes.of(f"model-{number}")
    assert len(lanes.read()) <= 200
    assert lanes.find("used") is not None
    await used.let_go()


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(1, 12),
    steps=st.lists(
        st.tuples(st.sampled_from(["enter", "leave", "cancel", "answer", "press"]), st.integers(0, 99)),
        max_size=60,
    ),
)
def test_the_ceiling_holds_and_nobody_is_stuck(most: int, steps: list[tuple[str, int]]) -> None:
    """However callers of three models come and go, slots are never more than the ceiling, and all get one."""
    asyncio.run(_live(most, steps))


async def _live(most: int, steps: list[tuple[str, int]]) -> None:
    lanes, holders = lanes_of(most), list[Holder]()
    highest = most
    for what, number in steps:
        if what == "enter":
            holders.append(Holder(lanes, "abc"[number % 3]))
        elif what == "answer":
            _full_round(lanes.of("abc"[number % 3]))
        elif what == "press":
            highest = max(1 + number % most, lanes.active)
            lanes.press(1 + number % most, Cause.CPU)
        elif holders:
            holder = holders.pop(number % len(holders))
            if what == "leave" and holder.holding:
                await holder.let_go()
            else:
                holder.task.cancel()
        await settle()
        highest = max(lanes.ceiling, min(highest, lanes.active))
        assert lanes.active <= highest
        assert lanes.active == sum(each.holding for each in holders)
        assert lanes.waiting == sum(not each.holding for each in holders)
    lanes.press(most, Cause.MOST)
    async with asyncio.timeout(10):
        while holders:
            await settle()
            holding = [each for each in holders if each.holding]
            assert holding, "somebody waits though all slots are free"
            for each in holding:
                await each.let_go()
                holders.remove(each)
    assert (lanes.active, lanes.waiting) == (0, 0)


def test_as_many_are_prepared_ahead_as_keep_the_calls_going() -> None:
    """By Little's law, up to the limit; none before anything is known, near a rate, or for a slow cache."""
    lane = lanes_of().of("m")
    assert lane.ahead(64) == 0
    lane.preparing.note(0.02)
    lane.calling.note(0.2)
    assert (lane.ahead(64), lane.ahead(1)) == (6, 0)
    for _ in range(1_000):
        lane.preparing.note(2.0)
    assert lane.ahead(64) == 16
    for _ in range(1_000):
        lane.calling.note(0.001)
    assert lane.ahead(64) == 64
    lane.heard(RateHints(Allowance(100, 50, 60.0), None), asked_at=0.0)
    assert lane.ahead(64) == 0
