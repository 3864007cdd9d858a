"""Tenants' budgets as their owners see and set them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from service_common.clock import Clock

from parallel_processor.repository import BudgetRepository
from parallel_processor.spending.tenant_budget import TenantBudget, capped, reckoned


@dataclass(frozen=True, slots=True)
class BudgetReading:
    """Where a tenant's budget stands.

    Attributes:
        cap: The most that may be spent; None for no limit.
        spent: What answered calls cost.
        uncertain: The most that calls of unknown fate may have cost.
        reserved: What is set aside beyond that: for calls that are out, and for the next.
        since: From when on spending counts; None while the tenant has no budget.
    """

    cap: int | None = None
    spent: int = 0
    uncertain: int = 0
    reserved: int = 0
    since: datetime | None = None


async def _nobody_waits(_tenant: str) -> None:
    return


class TenantBudgets:
    """Reads and sets tenants' budgets."""

    def __init__(
        self,
        budgets: BudgetRepository,
        *,
        clock: Clock,
        on_set: Callable[[str], Awaitable[None]] = _nobody_waits,
    ) -> None:
        """Prepare to set.

        Args:
            budgets: Where they are.
            clock: Time.
            on_set: Lets what rests for want of a tenant's budget go on, after that was set.
        """
        self._budgets = budgets
        self._clock = clock
        self._on_set = on_set

    async def read(self, tenant: str) -> BudgetReading:
        """Return where a tenant's budget stands, shards that are under way included."""
        budget = await self._budgets.get(tenant)
        if budget is None:
            return BudgetReading()
        return await self._reading(reckoned(budget, self._clock.now()))

    async def set(self, tenant: str, cap: int | None, *, start_over: bool) -> BudgetReading:
        """Set the most a tenant may spend.

        Args:
            tenant: Whose budget.
            cap: The most; None for no limit.
            start_over: Whether what was spent so far no longer counts.
        """
        now = self._clock.now()

        def transition(budget: TenantBudget | None) -> tuple[TenantBudget, TenantBudget]:
            after = capped(budget or TenantBudget(tenant, now), cap, start_over=start_over, now=now)
            return after, after

        budget = await self._budgets.change(tenant, transition)
        await self._on_set(tenant)
        return await self._reading(budget)

    async def _reading(self, budget: TenantBudget) -> BudgetReading:
        spent, uncertain = await self._budgets.spent_in_open_shards(budget.tenant)
        held = sum(each.amount for each in budget.holds)
        return BudgetReading(
            cap=budget.cap,
            spent=budget.spent + spent,
            uncertain=budget.uncertain + uncertain,
            reserved=max(0, budget.granted + held - spent - uncertain),
            since=budget.since,
        )
