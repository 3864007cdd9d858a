"""Who pays for the shards that run here: whether a budget holds them, and what they have used of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.jobs.job import Job
from parallel_processor.spending.account import Account
from parallel_processor.spending.purse import Limit, ShardPurse, Stock
from parallel_processor.spending.tenants import BudgetedTenants

_log = structlog.get_logger("parallel_processor.running.spending")

_MAX_SEEN = 1_000


class Spending:
    """Makes the purses of runs. Its mutable state: the jobs as last seen, and what they could not pay."""

    def __init__(
        self,
        stock: Stock,
        tenants: BudgetedTenants,
        *,
        clock: Clock,
        on_refused: Callable[[Account], None],
    ) -> None:
        """Prepare to pay.

        Args:
            stock: Where budgets stand.
            tenants: Knows which tenants have a budget.
            clock: Time.
            on_refused: Is told of each call that a budget refuses for good.
        """
        self._stock = stock
        self._tenants = tenants
        self._clock = clock
        self._on_refused = on_refused
        self._seen: OrderedDict[str, Job] = OrderedDict()
        self._limits: dict[str, tuple[int, Limit]] = {}

    async def purse(self, job: Job) -> ShardPurse:
        """Return what a shard of a job pays from."""
        self._see(job)
        return ShardPurse(
            self._stock,
            clock=self._clock,
            held=await self._is_held(job),
            limit=self._limit(job),
            on_refused=self._on_refused,
        )

    def _limit(self, job: Job) -> Limit:
        """Return what is remembered of a job since it last changed: then its budgets may bear more."""
        revision, limit = self._limits.get(job.job_id, (0, Limit()))
        if revision != job.revision:
            limit = Limit()
        self._limits[job.job_id] = job.revision, limit
        return limit

    async def looked_at(self, job: Job, purses: Sequence[ShardPurse]) -> None:
        """Let the runs of a job know that a budget holds them now."""
        self._see(job)
        if purses and not all(each.held for each in purses) and await self._is_held(job):
            for each in purses:
                each.held = True

    async def _is_held(self, job: Job) -> bool:
        if job.terms.max_cost_micros is not None:
            return True
        try:
            return await self._tenants.has_budget(job.tenant)
        except ServiceError as error:
            _log.warning("budget_not_read", reason=error.reason)
            return True  # asking for a slice finds out

    def used_ratio(self, used_here: Mapping[str, int]) -> float:
        """Return the highest share of its cap that a job has used, 0 to 1, as far as is known here.

        Args:
            used_here: By job id, what its shards here have spent and may spend on calls that are out.
        """
        ratios = [_ratio(self._seen[each], used) for each, used in used_here.items() if each in self._seen]
        return max(ratios, default=0.0)

    def _see(self, job: Job) -> None:
        self._seen[job.job_id] = job
        self._seen.move_to_end(job.job_id)
        if len(self._seen) > _MAX_SEEN:
            self._limits.pop(self._seen.popitem(last=False)[0], None)


def _ratio(job: Job, used: int) -> float:
    cap = job.terms.max_cost_micros
    if cap is None:
        return 0.0
    settled = job.usage.cost_micros + job.usage.uncertain_spend_micros
    return min(1.0, (settled + used) / cap) if cap else 1.0
