"""Finished shards become part of their jobs, and what the tracker has missed is told again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.job import Job, unsettled_count
from parallel_processor.jobs.retrying import standing
from parallel_processor.jobs.shard import Shard
from parallel_processor.repository import JobRepository, ShardRepository
from parallel_processor.running.reporting import (
    JOB_PRODUCER,
    Reporter,
    job_report,
    shard_producer,
    shard_report,
)

_log = structlog.get_logger("parallel_processor.running.settling")
_SHARDS_AT_ONCE = 100
_LEFT_BEHIND_S = 5.0
_CATCH_UP_S = 10.0


class Settling:
    """Adds finished shards to their jobs, at most about once a second per job.

    The last shards of a job do not wait for their turn: whoever waits for the job waits for them.

    Its mutable state: finished shards that wait, by job, when each job was last written and what it lacked
    then, and when to look for what others have left behind.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        shards: ShardRepository,
        reporter: Reporter,
        clock: Clock,
        interval_s: float,
        on_change: Callable[[Job], None],
    ) -> None:
        """Prepare to settle.

        Args:
            jobs: Where jobs are.
            shards: Where shards are.
            reporter: Who tells the tracker.
            clock: Time.
            interval_s: The least time between two writes of one job.
            on_change: Called with a job whose state has changed.
        """
        self._jobs = jobs
        self._shards = shards
        self._reporter = reporter
        self._clock = clock
        self._interval_s = interval_s
        self._on_change = on_change
        self._waiting: dict[tuple[str, str], dict[int, Shard]] = defaultdict(dict)
        self._written: dict[tuple[str, str], float] = {}
        self._lacking: dict[tuple[str, str], int] = {}
        self._collect_at = clock.monotonic() + _LEFT_BEHIND_S
        self._wake = asyncio.Event()

    def finished(self, shard: Shard) -> None:
        """Settle a finished shard soon."""
        self._waiting[shard.tenant, shard.job_id][shard.number] = shard
        self._wake.set()

    async def run(self) -> None:
        """Settle what is finished, for ever; also what a worker that died has left behind."""
        while True:
            self._wake.clear()
            delay_s = await self._settle_due()
            try:
                async with asyncio.timeout(min(delay_s, _LEFT_BEHIND_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if self._clock.monotonic() >= self._collect_at:
                self._collect_at = self._clock.monotonic() + _LEFT_BEHIND_S
                await self._collect_left_behind()

    async def _settle_due(self) -> float:
        """Settle the jobs whose turn it is; returns the seconds until the next one's."""
        delay_s = _LEFT_BEHIND_S
        for where in list(self._waiting):
            due_in_s = self._written.get(where, float("-inf")) + self._interval_s - self._clock.monotonic()
            if due_in_s > 0 and not self._completes(where):
                delay_s = min(delay_s, due_in_s)
                continue
            try:
                with spent_on(where[1]):
                    await self._settle(where)
            except ServiceError as error:
                _log.warning("settling_delayed", job_id=where[1], reason=error.reason)
                self._written[where] = self._clock.monotonic()
                self._lacking.pop(where, None)
                delay_s = min(delay_s, self._interval_s)
        return delay_s

    def _completes(self, where: tuple[str, str]) -> bool:
        """Whether the shards that wait are all that the job lacked when it was last written."""
        lacking = self._lacking.get(where)
        return lacking is not None and len(self._waiting[where]) >= lacking

    async def _settle(self, where: tuple[str, str]) -> None:
        job = await self._jobs.get(*where)
        shards = list(self._waiting[where].values())[:_SHARDS_AT_ONCE]
        told = frozenset(each.number for each in shards if self._is_told(each))
        after = await self._shards.settle(job, shards, now=self._clock.now(), reported=told)
        for each in shards:
            self._waiting[where].pop(each.number, None)
        if not self._waiting[where]:
            del self._waiting[where]
        self._written[where] = self._clock.monotonic()
        self._lacking[where] = unsettled_count(after)
        if after.revision != job.revision:
            self._reporter.submit(job_report(after, self._clock.now()))
            self._on_change(after)
        if after.state.terminal:
            self._written.pop(where, None)
            self._lacking.pop(where, None)

    def _is_told(self, shard: Shard) -> bool:
        return self._reporter.is_acknowledged(shard.job_id, shard_producer(shard.number), shard.commits)

    async def _collect_left_behind(self) -> None:
        try:
            for shard in await self._shards.finished(_SHARDS_AT_ONCE):
                self._waiting[shard.tenant, shard.job_id].setdefault(shard.number, shard)
        except ServiceError as error:
            _log.warning("settling_delayed", reason=error.reason)

    async def catch_up(self) -> None:
        """Tell the tracker again, for ever, what it has not acknowledged, from the store (law 2)."""
        while True:
            await asyncio.sleep(_CATCH_UP_S)
            if self._reporter.pending:
                continue
            try:
                await self._catch_up_shards()
                await self._catch_up_jobs()
            except ServiceError as error:
                _log.info("catch_up_delayed", reason=error.reason)

    async def _catch_up_shards(self) -> None:
        for shard in await self._shards.unreported(_SHARDS_AT_ONCE):
            if self._is_told(shard):
                await self._shards.mark_reported(shard)
                continue
            job = await self._jobs.get(shard.tenant, shard.job_id)
            outcomes = [outcome for _, outcome in standing(shard, await self._shards.results(shard))]
            self._reporter.submit(shard_report(job, shard, outcomes, self._clock.now()))

    async def _catch_up_jobs(self) -> None:
        for job in await self._jobs.unreported(_SHARDS_AT_ONCE):
            if not self._reporter.is_acknowledged(job.job_id, JOB_PRODUCER, job.revision):
                self._reporter.submit(job_report(job, self._clock.now()))
            else:
                await self._jobs.mark_reported(job)
