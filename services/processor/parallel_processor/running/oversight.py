"""Jobs that run here are held to their terms, and rest when no call of theirs can succeed.

What is known at once is acted on at once: what this process has committed, and the jobs as it last read them.
What other processes have not settled yet is read now and then, for jobs whose failures may be too many.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.item import ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, is_settled
from parallel_processor.jobs.life import PROBE_AFTER, ending_of
from parallel_processor.lifetime import Lifetime
from parallel_processor.repository import JobRepository
from parallel_processor.running.exhaustion import Exhaustion
from parallel_processor.running.shard_run import ShardRun

_log = structlog.get_logger("parallel_processor.running.oversight")
_LOOK_EVERY_S = 0.25


class Oversight:
    """Looks at the runs of this process.

    Its mutable state: when each failing job was last read with the shards of other processes.
    """

    def __init__(
        self,
        runs: Callable[[], Iterable[ShardRun]],
        *,
        jobs: JobRepository,
        lifetime: Lifetime,
        exhaustion: Exhaustion,
        adopt: Callable[[Job], None],
        clock: Clock,
        read_every_s: float,
    ) -> None:
        """Prepare to look.

        Args:
            runs: The runs of this process.
            jobs: Where jobs are.
            lifetime: Changes jobs.
            exhaustion: Lets jobs rest that have used up a budget.
            adopt: Lets the runs of a job follow what it has become.
            clock: Time.
            read_every_s: How often a failing job is read whole.
        """
        self._runs = runs
        self._jobs = jobs
        self._lifetime = lifetime
        self._exhaustion = exhaustion
        self._adopt = adopt
        self._clock = clock
        self._read_every_s = read_every_s
        self._read_at: dict[str, float] = {}
        self._wake = asyncio.Event()

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of what was committed: a failure may be one too many."""
        if any(each.state is ItemState.FAILED for each in outcomes):
            self._wake.set()

    async def run(self) -> None:
        """Look a few times a second, and at every failure, for ever."""
        while True:
            self._wake.clear()
            await self.look()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at each job that runs here once."""
        by_job: dict[str, list[ShardRun]] = defaultdict(list)
        for run in self._runs():
            by_job[run.job.job_id].append(run)
        self._exhaustion.keep(by_job.keys())
        for gone in self._read_at.keys() - by_job.keys():
            del self._read_at[gone]
        for runs in by_job.values():
            try:
                await self._look_at(max((run.job for run in runs), key=lambda job: job.revision), runs)
            except ServiceError as error:
                _log.info("oversight_delayed", job_id=runs[0].job.job_id, reason=error.reason)

    async def _look_at(self, job: Job, runs: Sequence[ShardRun]) -> None:
        if ending_of(job, self._clock.now()) is not None:
            if not all(run.is_given_up for run in runs):
                try:  # first in the store: it must know why the items failed before the last of them has
                    await self._lifetime.expire(job.tenant, job.job_id)
                finally:
                    self._adopt(job)
            return
        if troubles := [why for run in runs if (why := run.take_trouble()) is not None]:
            # One pause is for all of them: what was left over would end the next life of the job.
            await self._lifetime.pause_because(job.tenant, job.job_id, troubles[0], probe_after=PROBE_AFTER)
            return
        if job.state is not JobState.PAUSED and await self._exhaustion.look_at(job, runs):
            return
        failed = await self._failed(job, runs)
        if not job.terms.tolerates(failed, job.item_count):
            await self._lifetime.give_up_on(job.tenant, job.job_id, failed=failed)

    async def _failed(self, job: Job, runs: Sequence[ShardRun]) -> int:
        """Return how many of a job's items are known to have failed; 0 where that does not matter."""
        if job.terms.max_failed_ratio >= 1.0:
            return 0
        shards = [run.journal.shard for run in runs]
        here = sum(each.counts.failed for each in shards if not is_settled(job, each.number))
        known = job.counts.failed + here
        now = self._clock.monotonic()
        if known and now - self._read_at.get(job.job_id, float("-inf")) >= self._read_every_s:
            self._read_at[job.job_id] = now
            with spent_on(job.job_id):
                read, counts, _, _ = await self._jobs.live(job)
            known = max(known, read.counts.failed + counts.failed)
        return known
