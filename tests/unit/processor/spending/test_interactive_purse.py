"""Interactive pieces draw on the tenant's budget: durably, with few writes, and never beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from parallel_processor.jobs.piece import Usage
from parallel_processor.repository import SCHEMA, BudgetRepository
from parallel_processor.spending.account import Account
from parallel_processor.spending.interactive_purse import HOLD, InteractivePurse
from parallel_processor.spending.tenants import BudgetedTenants
from parallel_processor.tenant_budgets import TenantBudgets
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage import open_store

from tests.unit.processor.running.fakes import until


class Bench:
    """Two processes on one store, and the tenant's own view."""

    def __init__(self, budgets: BudgetRepository, clock: ManualClock) -> None:
        self.clock = clock
        self.owner = TenantBudgets(budgets, clock=clock)
        self.refused: list[Account] = []
        self.purses = [self.purse(budgets, name) for name in ("p", "q")]

    def purse(self, budgets: BudgetRepository, holder: str) -> InteractivePurse:
        """Return a process's purse."""
        tenants = BudgetedTenants(budgets, clock=self.clock)
        return InteractivePurse(
            budgets, tenants, holder=holder, clock=self.clock, on_refused=self.refused.append
        )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A tenant with a budget of 1,000."""
    clock = ManualClock()
    store = await open_store("memory://", schema=SCHEMA, clock=clock)
    made = Bench(BudgetRepository(store), clock)
    await made.owner.set("acme", 1_000, start_over=False)
    yield made
    await store.close()


async def pay(purse: InteractivePurse, worst: int, cost: int) -> None:
    """Make one piece with one call."""
    tab = await purse.open("acme")
    await tab.announce(worst, Usage())
    tab.settle(Usage(cost_micros=cost))


async def test_a_tenant_without_a_budget_pays_into_no_book(bench: Bench) -> None:
    """Its pieces are charged to nothing, and cost no write."""
    tab = await bench.purses[0].open("umbrella")
    await tab.announce(10**9, Usage())
    tab.settle(Usage(cost_micros=5))
    assert (await bench.owner.read("umbrella")).since is None


async def test_what_a_process_spent_is_told_when_it_is_idle(bench: Bench) -> None:
    """Set aside from the first call on, it becomes spent, and the rest is free, after a few quiet seconds."""
    await pay(bench.purses[0], 30, 20)
    now = await bench.owner.read("acme")
    assert now.spent == 0
    assert now.reserved >= 30
    bench.clock.advance(7)
    await bench.purses[0].look()
    done = await bench.owner.read("acme")
    assert (done.spent, done.reserved) == (20, 0)
    await pay(bench.purses[0], 30, 30)
    await bench.purses[0].look(closing=True)
    assert (await bench.owner.read("acme")).spent == 50


async def test_a_killed_process_has_spent_what_it_held(bench: Bench) -> None:
    """What it does not give back in time counts as spent, as an upper bound."""
    await pay(bench.purses[0], 30, 20)
    held = (await bench.owner.read("acme")).reserved
    bench.clock.advance(HOLD.total_seconds())
    after = await bench.owner.read("acme")
    assert (after.spent, after.uncertain, after.reserved) == (0, held, 0)


async def test_a_long_call_keeps_its_money_set_aside(bench: Bench) -> None:
    """As long as its process lives the hold is renewed, and nothing becomes uncertain."""
    tab = await bench.purses[0].open("acme")
    await tab.announce(100, Usage())
    for _ in range(10):
        bench.clock.advance(31)
        await bench.purses[0].look()
    tab.settle(Usage(cost_micros=70))
    await bench.purses[0].look(closing=True)
    after = await bench.owner.read("acme")
    assert (after.spent, after.uncertain, after.reserved) == (70, 0, 0)


async def test_each_call_of_a_piece_is_charged_once(bench: Bench) -> None:
    """A second try settles the first one, of unknown fate, at its worst."""
    tab = await bench.purses[0].open("acme")
    await tab.announce(100, Usage())
    lost = Usage(uncertain_calls=1, uncertain_spend_micros=100)
    await tab.announce(100, lost)
    tab.settle(lost + Usage(cost_micros=40))
    tab.settle(lost + Usage(cost_micros=40))
    await bench.purses[0].look(closing=True)
    after = await bench.owner.read("acme")
    assert (after.spent, after.uncertain, after.reserved) == (40, 100, 0)


async def test_a_second_call_beside_the_first_is_charged_beside_it(bench: Bench) -> None:
    """Both are set aside; where there is no room for the second the first is still charged."""
    tab = await bench.purses[0].open("acme")
    await tab.announce(100, Usage())
    await tab.announce(200, Usage())
    assert (await bench.owner.read("acme")).reserved >= 200
    with pytest.raises(ServiceError):
        await tab.announce(2_000, Usage())
    tab.settle(Usage(cost_micros=60, uncertain_spend_micros=100))
    await bench.purses[0].look(closing=True)
    after = await bench.owner.read("acme")
    assert (after.spent, after.uncertain, after.reserved) == (60, 100, 0)


async def test_two_processes_never_exceed_the_budget_together(bench: Bench) -> None:
    """Whoever comes when it is used up is refused for good; while calls are out he is asked to come again."""
    reasons = set()
    out = 0
    for turn in range(60):
        purse = bench.purses[turn % 2]
        tab = await purse.open("acme")
        try:
            await tab.announce(100, Usage())
        except ServiceError as error:
            reasons.add(error.reason)
        else:
            out += 1
            assert out * 100 <= 1_000
    assert (reasons, out) == ({"BUDGET_RESERVED"}, 10)
    assert not bench.refused


async def test_a_budget_that_is_used_up_says_so(bench: Bench) -> None:
    """Spent to where no call fits any more it is exhausted."""

    async def use_it_up() -> None:
        while True:
            await pay(bench.purses[0], 100, 60)
            bench.clock.advance(7)
            await bench.purses[0].look()

    with pytest.raises(ServiceError) as caught:
        await use_it_up()
    assert caught.value.reason == "BUDGET_EXHAUSTED"
    spent = (await bench.owner.read("acme")).spent
    assert 900 < spent <= 1_000
    assert [each.name for each in bench.refused] == ["tenant"]


async def test_pieces_at_one_time_share_one_write(bench: Bench) -> None:
    """Ten calls that begin together are borne by one slice, asked for once."""
    tabs = [await bench.purses[0].open("acme") for _ in range(5)]
    await asyncio.gather(*(tab.announce(10, Usage()) for tab in tabs))
    await until(lambda: True)
    assert (await bench.owner.read("acme")).reserved <= 10 + 1_000 // 16
