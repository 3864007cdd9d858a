"""Which tenants have a budget, remembered for a moment so that not every shard and piece reads it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from service_common.clock import Clock

from parallel_processor.spending.tenant_budget import TenantBudget

REMEMBERED_S = 2.0
_MAX_TENANTS = 10_000


class BudgetReader(Protocol):
    """Where tenants' budgets are."""

    async def get(self, tenant: str) -> TenantBudget | None:
        """Return a tenant's budget; None while it has none."""
        ...


class BudgetedTenants:
    """Says whether a tenant has a budget. Its mutable state: what was read lately."""

    def __init__(self, budgets: BudgetReader, *, clock: Clock) -> None:
        self._budgets = budgets
        self._clock = clock
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()

    async def has_budget(self, tenant: str) -> bool:
        """Whether a tenant has a budget, as of at most `REMEMBERED_S` ago.

        Raises:
            ServiceError: UNAVAILABLE if the store is away.
        """
        known, read_at = self._known.get(tenant, (False, float("-inf")))
        if known or self._clock.monotonic() - read_at < REMEMBERED_S:
            return known  # a budget, once set, is never taken away: its cap is
        known = await self._budgets.get(tenant) is not None
        self._known[tenant] = known, self._clock.monotonic()
        self._known.move_to_end(tenant)
        if len(self._known) > _MAX_TENANTS:
            self._known.popitem(last=False)
        return known
