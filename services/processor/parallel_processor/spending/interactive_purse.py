"""What interactive pieces are paid from: a slice of the tenant's budget that this process holds for a while.

A piece takes its worst case from the slice before each call and returns what the call did not cost, without a
write. The store hears of what was spent when the slice is made larger, when it is idle, and before its time
is over; until then all of it is set aside, and if this process dies it counts as spent (law 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError, failed_precondition, unavailable

from parallel_processor.jobs.piece import Usage
from parallel_processor.spending.account import Account, Standing
from parallel_processor.spending.refusal import EXHAUSTED
from parallel_processor.spending.tenant_budget import Spending, TenantBudget, given_back, held
from parallel_processor.spending.tenants import BudgetedTenants

_log = structlog.get_logger("parallel_processor.spending.interactive_purse")
HOLD = timedelta(seconds=45)
"""How long a hold lasts unless renewed; after a crash it counts as spent by then."""

_RENEW = timedelta(seconds=30)
_LOOK_S = 3.0
_IDLE_S = 6.0
_CALLS_AT_ONCE = 16
ResultT = TypeVar("ResultT")


class Budgets(Protocol):
    """Where tenants' budgets are."""

    async def change(
        self,
        tenant: str,
        transition: Callable[[TenantBudget | None], tuple[TenantBudget | None, ResultT]],
    ) -> ResultT:
        """Apply a transition to a tenant's budget and return what it says."""
        ...

    async def take_stock_of_tenant(self, tenant: str) -> Standing | None:
        """Take back what nobody uses, and return where the budget stands; None while there is none."""
        ...


@dataclass(slots=True)
class _Slice:
    """What this process holds of one tenant's budget.

    Attributes:
        free: What no call has taken.
        out: What calls have taken that are out.
        spent: What was spent since the store was told.
        used_at: When it was used last, by the monotonic clock.
        written_at: When the store was told last.
        changing: Held while the store is being asked.
    """

    free: int = 0
    out: int = 0
    spent: Spending = field(default_factory=Spending)
    used_at: float = float("-inf")
    written_at: float = float("-inf")
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class InteractivePurse:
    """Pays for interactive pieces. Its mutable state: a slice by tenant."""

    def __init__(
        self,
        budgets: Budgets,
        tenants: BudgetedTenants,
        *,
        holder: str,
        clock: Clock,
        on_refused: Callable[[Account], None],
    ) -> None:
        """Prepare to pay.

        Args:
            budgets: Where budgets are.
            tenants: Knows which tenants have one.
            holder: This process's name; no other one, past or present, has it.
            clock: Time.
            on_refused: Is told of each call that a budget refuses for good.
        """
        self._budgets = budgets
        self._tenants = tenants
        self._holder = holder
        self._clock = clock
        self._on_refused = on_refused
        self._slices: dict[str, _Slice] = {}

    async def open(self, tenant: str) -> Tab:
        """Return what one piece of a tenant is charged to.

        Raises:
            ServiceError: UNAVAILABLE if the store is away.
        """
        if not await self._tenants.has_budget(tenant):
            return Tab(self, "")
        return Tab(self, tenant)

    async def take(self, tenant: str, worst_case: int) -> None:
        """Take a call's worst case; only `Tab` calls this.

        Raises:
            ServiceError: FAILED_PRECONDITION, reason BUDGET_EXHAUSTED; UNAVAILABLE, reason BUDGET_RESERVED,
                if calls that are out may leave enough; as the store answers.
        """
        mine = self._slices.setdefault(tenant, _Slice())
        if mine.free < worst_case:
            async with mine.changing:
                if mine.free < worst_case:
                    await self._enlarge(tenant, mine, worst_case)
        mine.free -= worst_case
        mine.out += worst_case
        mine.used_at = self._clock.monotonic()

    def settle(self, tenant: str, worst_case: int, usage: Usage) -> None:
        """Return of what a call has taken what it did not cost; only `Tab` calls this."""
        mine = self._slices.setdefault(tenant, _Slice())
        spent = Spending(usage.cost_micros, usage.uncertain_spend_micros)
        mine.out -= worst_case
        mine.free += worst_case - spent.total
        mine.spent += spent
        mine.used_at = self._clock.monotonic()

    async def keep(self) -> None:
        """Tell the store in time what was spent, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self, *, closing: bool = False) -> None:
        """Give back idle slices and renew those whose time runs low."""
        now = self._clock.monotonic()
        for tenant, mine in [*self._slices.items()]:
            idle = not mine.out and (closing or now - mine.used_at >= _IDLE_S)
            if not idle and now - mine.written_at < _RENEW.total_seconds():
                continue
            try:
                async with mine.changing:
                    await self._tell(tenant, mine, give_back=idle)
            except ServiceError as error:
                _log.warning("budget_not_told", reason=error.reason)

    async def _tell(self, tenant: str, mine: _Slice, *, give_back: bool) -> None:
        if mine.out or not give_back:
            await self._hold(tenant, mine, need=0, wish=0)
            return
        told, now = mine.spent, self._clock.now()

        def transition(budget: TenantBudget | None) -> tuple[TenantBudget | None, None]:
            return (given_back(budget, self._holder, spent=told, now=now) if budget else None), None

        mine.free = 0  # whoever comes now asks anew
        await self._budgets.change(tenant, transition)
        mine.spent += Spending(-told.spent, -told.uncertain)

    async def _enlarge(self, tenant: str, mine: _Slice, worst_case: int) -> None:
        """Let the slice bear a call, after taking back what shards do not use if there is nothing else."""
        for last in (False, True):
            need = worst_case - mine.free
            await self._hold(tenant, mine, need=need, wish=_CALLS_AT_ONCE * worst_case)
            if mine.free >= worst_case:
                return
            standing = await self._budgets.take_stock_of_tenant(tenant)
            if last and standing is not None:
                self._refuse(standing, worst_case)

    def _refuse(self, standing: Standing, worst_case: int) -> None:
        account = standing.exhausted_by(worst_case)
        if account is None:
            raise unavailable(
                "BUDGET_RESERVED",
                "the tenant's budget is set aside for calls that are out; some may cost less",
                retry_after=timedelta(seconds=1),
            )
        self._on_refused(account)
        raise failed_precondition(
            EXHAUSTED,
            f"of the tenant's budget of {account.cap} micros {account.settled} are spent, and the call may "
            f"cost up to {worst_case}",
        )

    async def _hold(self, tenant: str, mine: _Slice, *, need: int, wish: int) -> None:
        told, now = mine.spent, self._clock.now()

        def transition(budget: TenantBudget | None) -> tuple[TenantBudget | None, int]:
            if budget is None:
                return None, need
            return held(budget, self._holder, spent=told, need=need, wish=wish, until=now + HOLD, now=now)

        before = mine.free + mine.out
        has = await self._budgets.change(tenant, transition)
        mine.spent += Spending(-told.spent, -told.uncertain)
        mine.written_at = self._clock.monotonic()
        mine.free += has - before


class Tab:
    """What one piece is charged to. Its mutable state: what its calls may cost, and what was charged."""

    def __init__(self, purse: InteractivePurse, tenant: str) -> None:
        """Open it; without a tenant nothing is charged."""
        self._purse = purse
        self._tenant = tenant
        self._out: int | None = None
        self._charged = Usage()

    async def announce(self, worst_case: int, usage: Usage) -> None:
        """Take what the piece's calls may cost that are out from now on.

        Args:
            worst_case: The most they may cost together; with a second call beside the first, both.
            usage: What the piece's earlier calls took.

        Raises:
            ServiceError: As `InteractivePurse.take`; what was taken before is still taken then.
        """
        if not self._tenant:
            return
        paid = self._spent_since(usage)
        rest = max(0, (self._out or 0) - paid.cost_micros - paid.uncertain_spend_micros)
        self._purse.settle(self._tenant, (self._out or 0) - rest, paid)
        self._out, self._charged = rest, usage
        if worst_case > rest:
            await self._purse.take(self._tenant, worst_case - rest)
        else:
            self._purse.settle(self._tenant, rest - worst_case, Usage())
        self._out = worst_case

    def settle(self, usage: Usage) -> None:
        """Return what the call that was out did not cost.

        Args:
            usage: What the piece's calls took, this one included.
        """
        if self._out is not None:
            self._purse.settle(self._tenant, self._out, self._spent_since(usage))
            self._charged, self._out = usage, None

    def _spent_since(self, usage: Usage) -> Usage:
        return Usage(
            cost_micros=usage.cost_micros - self._charged.cost_micros,
            uncertain_spend_micros=usage.uncertain_spend_micros - self._charged.uncertain_spend_micros,
        )
