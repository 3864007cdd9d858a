"""Jobs that rest because a budget is used up, and go on once it is raised."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.life import resumed_for_tenant
from parallel_processor.repository import BudgetRepository, JobRepository
from parallel_processor.spending.refusal import UsedUp
from parallel_processor.spending.resting import rested

_log = structlog.get_logger("parallel_processor.resting")
_JOBS_AT_ONCE = 100
_MAX_PAGES = 20
"""Of more paused jobs the oldest go on when they are probed."""


class Resting:
    """Pauses jobs for want of budget, and resumes them."""

    def __init__(
        self,
        jobs: JobRepository,
        budgets: BudgetRepository,
        *,
        clock: Clock,
        on_change: Callable[[Job], None],
    ) -> None:
        """Prepare to change jobs.

        Args:
            jobs: Where they are.
            budgets: Where tenants' budgets are.
            clock: Time.
            on_change: Called with each job as it has become.
        """
        self._jobs = jobs
        self._budgets = budgets
        self._clock = clock
        self._on_change = on_change

    async def rest(self, job: Job, used_up: UsedUp) -> None:
        """Pause a job, unless the budget it has used up is another by now."""
        now = self._clock.now()
        try:
            before, after = await self._budgets.change_job(
                job.tenant, job.job_id, lambda books: rested(books, used_up, now)
            )
        except ServiceError as error:
            _log.info("rest_delayed", job_id=job.job_id, reason=error.reason)
            return
        if after.revision != before.revision:
            self._on_change(after)

    async def wake(self, tenant: str) -> None:
        """Let the jobs go on that rest because their tenant's budget was used up."""
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            found, cursor = await self._jobs.list_page(
                tenant, JobState.PAUSED, limit=_JOBS_AT_ONCE, cursor=cursor
            )
            for each in found:
                await self._resume(each)
            if cursor is None:
                return

    async def _resume(self, job: Job) -> None:
        now = self._clock.now()
        if resumed_for_tenant(job, now) is job:
            return
        after = await self._jobs.change(job.tenant, job.job_id, lambda each: resumed_for_tenant(each, now))
        if after.revision != job.revision:
            self._on_change(after)
