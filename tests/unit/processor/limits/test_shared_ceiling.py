"""Several lanes under one ceiling: tenants share it in tokens, whatever they ask for; none is kept out."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from parallel_processor.jobs.job import Priority
from parallel_processor.limits.lanes import Lanes
from parallel_processor.limits.limiter import FIRST_LIMIT
from parallel_processor.queueing.slots import Rank
from service_common.clock import ManualClock

from tests.unit.processor.limits.holders import Holder, lanes_of, settle


async def test_a_long_queue_does_not_keep_another_model_out() -> None:
    """Where all slots are taken by one model, the next that becomes free goes to the model that has none."""
    lanes = lanes_of(6)
    crowd = [Holder(lanes, "a") for _ in range(30)]
    await settle()
    single = Holder(lanes, "b")
    await settle()
    assert (lanes.active, single.holding) == (6, False)
    await next(each for each in crowd if each.holding).let_go()
    await settle()
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
    lanes = lanes_of(6)
    tenants = [_Tenant(lanes, "small", "a", tokens=20), _Tenant(lanes, "large", "b", tokens=1_000)]
    small, large = await _shares(lanes, tenants)
    assert max(small, large) <= 1.1 * min(small, large)


async def test_a_second_model_is_no_second_share() -> None:
    """A tenant that asks for two models gets as much as one that asks for one of these."""
    lanes = lanes_of(6)
    tenants = [_Tenant(lanes, "two", "ab", tokens=100), _Tenant(lanes, "one", "b", tokens=100)]
    two, one = await _shares(lanes, tenants)
    assert max(two, one) <= 1.1 * min(two, one)


async def test_what_a_tenant_took_while_slots_stood_empty_is_not_held_against_it() -> None:
    """Calls that were taken from nobody give the others no claim on later ones."""
    lanes = lanes_of(FIRST_LIMIT + 2)
    early = _Tenant(lanes, "early", "a", tokens=1_000)
    few = Holder(lanes, "b")
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
    lanes = lanes_of(2)
    crowd = [Holder(lanes, "a") for _ in range(10)]
    await settle()
    later = Holder(lanes, "b")
    urgent = Holder(lanes, "c", Rank.of(Priority.URGENT, datetime(2026, 1, 2, tzinfo=UTC), tenant="other"))
    await settle()
    await next(each for each in crowd if each.holding).let_go()
    await settle()
    assert (urgent.holding, later.holding) == (True, False)
    for each in (*crowd, later, urgent):
        each.task.cancel()


async def test_calls_are_prepared_ahead_again_once_a_lane_is_alone() -> None:
    """Another model's call that comes and goes takes nothing for good from the lane that is used."""
    lanes = lanes_of(4)
    lane = lanes.of("m")
    lane.preparing.note(0.1)
    lane.calling.note(0.1)
    holders = [Holder(lanes, "m") for _ in range(20)]
    await settle()
    assert lane.slots.active > lanes.calling == 4
    other = Holder(lanes, "other")
    await settle()
    for each in [each for each in holders if each.holding]:
        await each.let_go()
    await settle()
    assert other.holding
    assert lanes.calling <= 4
    await other.let_go()
    for _ in range(2):
        for each in [each for each in holders if each.holding]:
            await each.let_go()
        await settle()
    assert lane.slots.active > lanes.calling == 4
    for each in holders:
        each.task.cancel()
