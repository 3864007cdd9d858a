"""Lanes: each as wide as its endpoint bears, together never above the ceiling, none kept out, none stuck."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.job import Priority
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import Lane
from parallel_processor.limits.lanes import Lanes
from parallel_processor.limits.limiter import FIRST_LIMIT
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.rate_headers import Allowance, RateHints
from parallel_processor.model.requests import ModelReply
from parallel_processor.running.slots import Rank
from service_common.clock import ManualClock, SystemClock

RANK = Rank.of(Priority.NORMAL, datetime(2026, 1, 1, tzinfo=UTC))


def _lanes(most: int = 64, clock: ManualClock | SystemClock | None = None) -> Lanes:
    return Lanes(most, clock=clock or ManualClock(), rng=random.Random(1))


def _reply(tokens: int = 100) -> ModelReply:
    return ModelReply("x", "m", truncated=False, prompt_tokens=0, output_tokens=tokens, latency_s=0.2)


def _refusal(retry_after_s: float | None = None) -> ModelFailure:
    return ModelFailure(
        FailureClass.RATE_LIMITED, "no", fate=Fate.NOT_BILLED, status=429, retry_after_s=retry_after_s
    )


class _Holder:
    """Holds a slot until told to let go."""

    def __init__(self, lanes: Lanes, model: str, rank: Rank = RANK) -> None:
        self.model = model
        self.holding = False
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(lanes, rank))

    async def _run(self, lanes: Lanes, rank: Rank) -> None:
        async with lanes.hold(self.model, rank) as held:
            await held.begin()
            self.holding = True
            try:
                await self._let_go.wait()
            finally:
                self.holding = False

    async def let_go(self) -> None:
        """Give the slot back."""
        self._let_go.set()
        await self.task


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _full_round(lane: Lane) -> None:
    """Let as many calls as there are slots be answered."""
    calls = [lane.begin() for _ in range(lane.slots.limit)]
    for call in calls:
        lane.answered(call, _reply())


async def test_a_lane_widens_while_its_calls_are_answered() -> None:
    """Answers of calls that used all slots let more callers in, up to the ceiling."""
    lanes = _lanes(12)
    holders = [_Holder(lanes, "m") for _ in range(40)]
    await _settle()
    assert lanes.active == FIRST_LIMIT
    _full_round(lanes.of("m"))
    await holders[0].let_go()
    await _settle()
    assert (lanes.active, lanes.waiting) == (12, 27)
    for each in holders:
        each.task.cancel()


async def test_a_refusal_narrows_it_at_once() -> None:
    """The slot of the refused call is not given to the next."""
    lanes = _lanes()
    holders = [_Holder(lanes, "m") for _ in range(20)]
    await _settle()
    lane = lanes.of("m")
    calls = [lane.begin() for _ in range(FIRST_LIMIT)]
    lane.failed(calls[-1], _refusal())
    await holders[0].let_go()
    await _settle()
    assert lanes.active == FIRST_LIMIT - 1
    assert lanes.read()[0].cause is Cause.REFUSED
    for each in holders:
        each.task.cancel()


async def test_a_pause_ends_by_itself() -> None:
    """A lane whose endpoint refuses even one call lets one more through after its pause, without a call."""
    lanes = _lanes(1, SystemClock())
    lane = lanes.of("m")
    async with lanes.hold("m", RANK):
        lane.failed(lane.begin(), _refusal(retry_after_s=0.05))
    next_one = _Holder(lanes, "m")
    await _settle()
    assert not next_one.holding
    assert lanes.read()[0].pause_s > 0
    async with asyncio.timeout(10):
        while not next_one.holding:  # noqa: ASYNC110 - the lane announces nothing
            await asyncio.sleep(0.01)
    await next_one.let_go()


async def test_rates_let_in_what_they_bear() -> None:
    """With three requests left, three go in; those that hold a slot without a call yet count as well."""
    clock = ManualClock()
    lanes = _lanes(64, clock)
    lanes.of("m").heard(RateHints(Allowance(600, 3, 59.7), None))
    holders = [_Holder(lanes, "m") for _ in range(10)]
    await _settle()
    assert lanes.active == 3
    assert lanes.of("m").wake_in_s(0.0) is None  # the three have not taken theirs yet
    for _ in range(3):
        lanes.of("m").begin()
    assert lanes.read()[0].cause is Cause.RATE
    clock.advance(0.2)  # ten a second
    lanes.refresh(lanes.of("m"))
    await _settle()
    assert lanes.active == 5
    for each in holders:
        each.task.cancel()


async def test_rates_fill_without_a_call() -> None:
    """A lane that waits for its rate wakes when there is room."""
    lanes = _lanes(64, SystemClock())
    lanes.of("m").heard(RateHints(Allowance(1200, 0, 60.0), None))
    async with asyncio.timeout(10), lanes.hold("m", RANK):
        pass


async def test_rates_fill_beside_another_lane_too() -> None:
    """A lane that waits for its rate or its pause wakes by itself, whatever goes on in another one."""
    lanes = _lanes(64, SystemClock())
    other = _Holder(lanes, "other")
    await _settle()
    lanes.of("rated").heard(RateHints(Allowance(1200, 0, 60.0), None))
    lanes.of("paused").failed(lanes.of("paused").begin(), _refusal(retry_after_s=0.05))
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
    lanes = _lanes(64, _CreepingClock())
    lane = lanes.of("m")
    lane.heard(RateHints(Allowance(6000, 0, 60.0), None))
    async with asyncio.timeout(20):
        for _ in range(100):
            async with lanes.hold("m", RANK):
                lane.answered(lane.begin(), _reply())


async def test_a_long_queue_does_not_keep_another_model_out() -> None:
    """Where all slots are taken by one model, the next that becomes free goes to the model that has none."""
    lanes = _lanes(6)
    crowd = [_Holder(lanes, "a") for _ in range(30)]
    await _settle()
    single = _Holder(lanes, "b")
    await _settle()
    assert (lanes.active, single.holding) == (6, False)
    await next(each for each in crowd if each.holding).let_go()
    await _settle()
    assert single.holding
    assert lanes.active == 6
    for each in (*crowd, single):
        each.task.cancel()


class _Tenant:
    """Asks for models in turn, always for more than it gets, with calls of one size."""

    def __init__(self, lanes: Lanes, name: str, models: str, *, tokens: int, weight: float = 1.0) -> None:
        self.served = 0
        self.weight = weight
        self._lanes, self._models, self._tokens = lanes, models, tokens
        self._rank = Rank.of(Priority.NORMAL, datetime(2026, 1, 1, tzinfo=UTC), tenant=name)
        self.tasks = [asyncio.create_task(self._ask(number)) for number in range(12 * len(models))]

    async def _ask(self, number: int) -> None:
        while True:
            model = self._models[number % len(self._models)]
            async with self._lanes.hold(model, self._rank, 2 * self._tokens) as held:
                await held.begin()
                for _ in range(7):
                    await asyncio.sleep(0)
                held.used = self._tokens
                self.served += self._tokens


async def _shares(lanes: Lanes, tenants: list[_Tenant]) -> list[float]:
    """Return what tenants are served for their weight, once the queue has seen what calls really take."""
    for _ in range(500):
        await asyncio.sleep(0)
    before = [each.served for each in tenants]
    for _ in range(6_000):
        await asyncio.sleep(0)
    assert lanes.active == lanes.ceiling
    for task in [task for each in tenants for task in each.tasks]:
        task.cancel()
    return [(each.served - had) / each.weight for each, had in zip(tenants, before, strict=True)]


async def test_tenants_of_different_models_share_the_ceiling_in_tokens() -> None:
    """What a tenant is served does not depend on how large its calls are, nor on who asks for its model."""
    lanes = _lanes(6)
    tenants = [_Tenant(lanes, "small", "a", tokens=20), _Tenant(lanes, "large", "b", tokens=1_000)]
    small, large = await _shares(lanes, tenants)
    assert max(small, large) <= 1.1 * min(small, large)


async def test_a_second_model_is_no_second_share() -> None:
    """A tenant that asks for two models gets as much as one that asks for one of these."""
    lanes = _lanes(6)
    tenants = [_Tenant(lanes, "two", "ab", tokens=100), _Tenant(lanes, "one", "b", tokens=100)]
    two, one = await _shares(lanes, tenants)
    assert max(two, one) <= 1.1 * min(two, one)


async def test_what_a_tenant_took_while_slots_stood_empty_is_not_held_against_it() -> None:
    """Calls that were taken from nobody give the others no claim on later ones."""
    lanes = _lanes(FIRST_LIMIT + 2)
    early = _Tenant(lanes, "early", "a", tokens=1_000)
    few = _Holder(lanes, "b")
    for _ in range(2_000):
        await asyncio.sleep(0)
    before = early.served
    assert (before > 100_000, lanes.active) == (True, FIRST_LIMIT + 1)
    later = _Tenant(lanes, "later", "b", tokens=1_000)
    shares = await _shares(lanes, [early, later])
    assert max(shares) <= 1.15 * min(shares)
    few.task.cancel()


async def test_weights_count_over_all_models() -> None:
    """Of tenants with a model each, one of weight three gets three times as much."""
    lanes = Lanes(6, clock=ManualClock(), rng=random.Random(1), tenant_weights={"heavy": 3.0})
    tenants = [
        _Tenant(lanes, "heavy", "a", tokens=50, weight=3.0),
        _Tenant(lanes, "light", "b", tokens=100),
        _Tenant(lanes, "other", "c", tokens=400),
    ]
    shares = await _shares(lanes, tenants)
    assert max(shares) <= 1.1 * min(shares)


async def test_urgent_work_goes_first_whatever_its_model() -> None:
    """A slot that another model's backlog would take goes to the urgent call that waits."""
    lanes = _lanes(2)
    crowd = [_Holder(lanes, "a") for _ in range(10)]
    await _settle()
    later = _Holder(lanes, "b")
    urgent = _Holder(lanes, "c", Rank.of(Priority.URGENT, datetime(2026, 1, 2, tzinfo=UTC), tenant="other"))
    await _settle()
    await next(each for each in crowd if each.holding).let_go()
    await _settle()
    assert (urgent.holding, later.holding) == (True, False)
    for each in (*crowd, later, urgent):
        each.task.cancel()


async def test_calls_are_prepared_ahead_again_once_a_lane_is_alone() -> None:
    """Another model's call that comes and goes takes nothing for good from the lane that is used."""
    lanes = _lanes(4)
    lane = lanes.of("m")
    lane.preparing.note(0.1)
    lane.calling.note(0.1)
    holders = [_Holder(lanes, "m") for _ in range(20)]
    await _settle()
    assert lane.slots.active > lanes.calling == 4
    other = _Holder(lanes, "other")
    await _settle()
    for each in [each for each in holders if each.holding]:
        await each.let_go()
    await _settle()
    assert other.holding
    assert lanes.calling <= 4
    await other.let_go()
    for _ in range(2):
        for each in [each for each in holders if each.holding]:
            await each.let_go()
        await _settle()
    assert lane.slots.active > lanes.calling == 4
    for each in holders:
        each.task.cancel()


async def test_pressure_lowers_the_ceiling_and_gives_it_back() -> None:
    """Nobody loses a slot, but none is given out above the new ceiling; back up, the waiting go on."""
    lanes = _lanes(8)
    holders = [_Holder(lanes, "m") for _ in range(20)]
    await _settle()
    lanes.press(2, Cause.MEMORY)
    assert lanes.active == 8
    reading = lanes.read()[0]
    assert (reading.limit, reading.cause) == (2, Cause.MEMORY)
    for each in [each for each in holders if each.holding]:
        await each.let_go()
    await _settle()
    assert lanes.active == 2
    lanes.press(8, Cause.MOST)
    await _settle()
    assert lanes.active == 8
    for each in holders:
        each.task.cancel()


async def test_idle_lanes_are_forgotten() -> None:
    """Callers name models; a thousand names do not stay for ever, and a lane in use does."""
    lanes = _lanes()
    used = _Holder(lanes, "used")
    await _settle()
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
    lanes, holders = _lanes(most), list[_Holder]()
    highest = most
    for what, number in steps:
        if what == "enter":
            holders.append(_Holder(lanes, "abc"[number % 3]))
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
        await _settle()
        highest = max(lanes.ceiling, min(highest, lanes.active))
        assert lanes.active <= highest
        assert lanes.active == sum(each.holding for each in holders)
        assert lanes.waiting == sum(not each.holding for each in holders)
    lanes.press(most, Cause.MOST)
    async with asyncio.timeout(10):
        while holders:
            await _settle()
            holding = [each for each in holders if each.holding]
            assert holding, "somebody waits though all slots are free"
            for each in holding:
                await each.let_go()
                holders.remove(each)
    assert (lanes.active, lanes.waiting) == (0, 0)


def test_as_many_are_prepared_ahead_as_keep_the_calls_going() -> None:
    """By Little's law, up to the limit; none before anything is known, near a rate, or for a slow cache."""
    lane = _lanes().of("m")
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
    lane.heard(RateHints(Allowance(100, 50, 60.0), None))
    assert lane.ahead(64) == 0
