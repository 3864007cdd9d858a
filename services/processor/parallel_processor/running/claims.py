"""Which shards this worker runs: claimed while there is room, renewed, and handed back at the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.item import Item, Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.life import ending_of
from parallel_processor.jobs.retrying import standing
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.limits.lanes import Lanes
from parallel_processor.queueing.slots import Rank
from parallel_processor.repository import Claim, JobRepository, ShardRepository
from parallel_processor.running.backlog import Backlog
from parallel_processor.running.bell import Bell
from parallel_processor.running.hand import Hand
from parallel_processor.running.journal import Journal, Pace
from parallel_processor.running.looking import SHARDS_AT_ONCE, Found, Looking
from parallel_processor.running.queue_news import QueueNews
from parallel_processor.running.reporting import JOB_PRODUCER, Reporter, job_report, shard_report
from parallel_processor.running.settling import Settling
from parallel_processor.running.shard_run import ShardRun
from parallel_processor.running.spending import Spending
from parallel_processor.running.workshop import Workshop
from parallel_processor.spending.purse import ShardPurse

_log = structlog.get_logger("parallel_processor.running.claims")
_AGAIN_S = 2.0
"""After so many seconds at the most a look that failed is repeated, however seldom it is polled."""


@dataclass(frozen=True, slots=True)
class ClaimPolicy:
    """How shards are claimed.

    Attributes:
        worker: This process's name.
        lease: How long a lease lasts unless renewed.
        poll_s: How often to look for work that nobody here was told of. While the bell is heard, only when
            something may be left to claim, or a lease that was seen may have ended.
        pace: How often a shard's work is committed.
        max_shards: The most shards at a time.
    """

    worker: str
    lease: timedelta
    poll_s: float
    pace: Pace
    max_shards: int = 64


class Claims:
    """Claims shards and runs them. Its mutable state: the runs, by shard."""

    def __init__(
        self,
        policy: ClaimPolicy,
        *,
        jobs: JobRepository,
        shards: ShardRepository,
        workshop: Workshop,
        slots: Lanes,
        reporter: Reporter,
        settling: Settling,
        bell: Bell,
        tenant_weights: Mapping[str, float] | None = None,
        clock: Clock,
        rng: random.Random,
        spending: Spending,
        on_outcomes: Callable[[Sequence[Outcome]], None],
        on_committed: Callable[[str], None],
    ) -> None:
        self._policy = policy
        self._jobs = jobs
        self._shards = shards
        self._workshop = workshop
        self._slots = slots
        self._reporter = reporter
        self._settling = settling
        self._bell = bell
        self._looking = Looking(
            jobs, shards, backlog=Backlog(tenant_weights), clock=clock, rng=rng, lease=policy.lease
        )
        self._clock = clock
        self._rng = rng
        self._spending = spending
        self._on_outcomes = on_outcomes
        self._on_committed = on_committed
        self._queue_news = QueueNews(slots.queue, self._looking.backlog, reporter=reporter, clock=clock)
        self._runs: dict[str, ShardRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._draining = False

    @property
    def running(self) -> int:
        """Shards that run here."""
        return len(self._runs)

    @property
    def runs(self) -> Iterable[ShardRun]:
        """The runs of shards."""
        return list(self._runs.values())

    @property
    def queued_items(self) -> int:
        """Unfinished items of the shards that run here, beyond those that are with the model."""
        return max(0, sum(run.unfinished for run in self._runs.values()) - self._slots.calling)

    @property
    def budget_used_ratio(self) -> float:
        """The highest share of its cap that a job which runs here has used, 0 to 1."""
        used: Counter[str] = Counter()
        for run in self._runs.values():
            used[run.job.job_id] += run.journal.shard.spent + run.journal.shard.reserved
        return self._spending.used_ratio(used)

    def wake(self) -> None:
        """Look for work now: a job was started or changed here, or the bell was rung."""
        self._looking.rung()
        self._wake.set()

    def adopt(self, job: Job) -> None:
        """Let a job's items and shards follow what it has become; what that takes happens by itself.

        They stand where its new terms say at once, however many there are. Other workers do so when they hear
        of it: with the next look if the job was stirred, and with the next renewal of one of its leases.
        """
        self._looking.backlog.learn(job, self._clock.now().timestamp())
        runs = self._runs_of(job.job_id)
        if runs and any(Rank.of_job(run.job) != Rank.of_job(job) for run in runs):
            self._slots.rerank(Rank.of_job(job))
            self._wake.set()
        for run in runs:
            self._keep(asyncio.create_task(run.adopt(job)))

    def rung(self) -> None:
        """Look for work now, and at what has become of the jobs that run here: somebody rang the bell."""
        self.wake()
        if self._runs:
            self._keep(asyncio.create_task(self._look_at_jobs()))

    async def take(self, shard: Shard) -> None:
        """Claim a shard of a job that is given up, room or not, and run it to its end, without calls."""
        task = await self._claim(Found(shard))
        if task is not None:
            await asyncio.wait([task])

    async def run(self) -> None:
        """Claim and run shards, for ever."""
        while True:
            self._wake.clear()
            try:
                await self._claim_some()
            except ServiceError as error:
                self._looking.failed()
                _log.warning("claiming_delayed", reason=error.reason)
                await asyncio.sleep(min(self._policy.poll_s, _AGAIN_S))
            else:
                await self._woken_or_due()

    async def _woken_or_due(self) -> None:
        while not self._wake.is_set():
            try:
                async with asyncio.timeout(self._policy.poll_s * self._rng.uniform(0.8, 1.2)):
                    await self._wake.wait()
            except TimeoutError:
                if self._is_due():
                    return

    def _is_due(self) -> bool:
        """Whether there may be work that the bell does not tell of: each look costs reads."""
        if not self._bell.is_heard or self._looking.is_due():
            self._looking.polled()
            return True
        return self._looking.may_have_more and self._has_room()

    async def renew(self) -> None:
        """Renew the leases of all runs, and learn what has become of their jobs, for ever."""
        while True:
            await asyncio.sleep(self._policy.lease.total_seconds() / 4)
            await self.renew_once()
            self._queue_news.tell({run.job.job_id for run in self._runs.values()})

    async def renew_once(self) -> None:
        """Renew the leases that no commit has renewed lately, and look at each job once."""
        await asyncio.gather(self._look_at_jobs(), *map(self._renew, list(self._runs.values())))

    async def drain(self, grace_s: float) -> None:
        """Claim nothing more, let calls in flight come back, commit, and hand the shards back."""
        self._draining = True
        async with self._claiming:  # what is being claimed in this moment is handed back too
            pass
        await asyncio.gather(*(run.drain(grace_s) for run in self._runs.values()))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    def _runs_of(self, job_id: str) -> list[ShardRun]:
        return [run for run in self._runs.values() if run.job.job_id == job_id]

    def _hand(self) -> Hand:
        return Hand(self._runs.values(), self._slots, places=self._policy.max_shards)

    def _has_room(self) -> bool:
        return not self._draining and self._hand().has_room

    async def _claim_some(self) -> None:
        """Claim shards of jobs whose turn it is; if there are none, look whether one was missed."""
        looking = self._looking
        if self._draining:
            return
        if is_new := looking.has_news:
            for job in await looking.hear():
                self.adopt(job)
        claimed = 0
        for tries in range(SHARDS_AT_ONCE):
            found = await looking.next(self._hand().wants)
            if found is None:
                if is_new and not tries and self._has_room():
                    await self._claim_missed()
                return
            claimed += await self._claim(found) is not None
            if looking.has_news:  # it may be more urgent than what comes next
                return
        if claimed:  # otherwise others are at it, and the next poll is soon enough
            self._wake.set()

    async def _claim_missed(self) -> None:
        for found in await self._looking.over_all():
            if not self._has_room():
                self._looking.left_over()
                return
            await self._claim(found)

    async def _claim(self, found: Found) -> asyncio.Task[None] | None:
        """Claim a shard and begin with it; returns its run, or None if someone was faster."""
        async with self._claiming:
            return None if self._draining else await self._claim_alone(found)

    async def _claim_alone(self, found: Found) -> asyncio.Task[None] | None:
        shard, backlog = found.shard, self._looking.backlog
        if shard.holder in self._runs:
            return None
        try:
            with spent_on(shard.job_id):
                claim = await self._shards.claim(
                    shard, owner=self._policy.worker, now=self._clock.now(), lease=self._policy.lease
                )
        except ServiceError as error:
            _log.debug("claim_lost", shard=shard.holder, reason=error.reason)
            return None
        now = self._clock.now().timestamp()
        if found.source is not None:
            backlog.claimed(found.source, len(shard.states), now)
        backlog.learn(claim.job, now)
        with spent_on(shard.job_id):
            return await self._start(claim)

    async def _start(self, claim: Claim) -> asyncio.Task[None]:
        shard = claim.shard
        if not self._reporter.is_acknowledged(shard.job_id, JOB_PRODUCER, claim.job.revision):
            self._reporter.submit(job_report(claim.job, self._clock.now()))
        items = await self._jobs.read_items(claim.job, shard.sources)
        committed = standing(shard, await self._shards.results(shard)) if shard.result_chunks else []
        run = self._new_run(claim, items, await self._spending.purse(claim.job))
        self._runs[shard.holder] = run
        task = self._keep(asyncio.create_task(self._run(shard.holder, run, committed), name=shard.holder))
        if committed:  # what the worker before reported last may be lost: tell all of it again
            outcomes = [outcome for _, outcome in committed]
            self._report(run, shard, outcomes)
        return task

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _new_run(self, claim: Claim, items: list[Item], purse: ShardPurse) -> ShardRun:
        runs: list[ShardRun] = []
        journal = Journal(
            claim.shard,
            self._shards,
            clock=self._clock,
            rng=self._rng,
            lease=self._policy.lease,
            pace=self._policy.pace,
            purse=purse,
            on_commit=lambda shard, outcomes: self._committed(runs[0], shard, outcomes),
        )
        runs.append(ShardRun(claim.job, items, journal, self._workshop, epoch=claim.shard.epoch))
        return runs[0]

    async def _run(self, holder: str, run: ShardRun, committed: Sequence[tuple[int, Outcome]]) -> None:
        try:
            if (ending := ending_of(run.job, self._clock.now())) is not None:
                await run.give_up(ending)
            await run.run(committed)
            if run.journal.shard.phase is ShardPhase.FINISHED:
                self._settling.finished(run.journal.shard)
            elif run.journal.shard.phase is not ShardPhase.SETTLED:
                await self._shards.hand_back(run.journal.shard, now=self._clock.now())
                self._looking.backlog.freed(run.job.job_id, self._clock.now().timestamp())
                self._bell.ring()
        except ServiceError as error:
            _log.warning("shard_run_ended", shard=holder, reason=error.reason, message=error.message)
        except Exception:  # noqa: BLE001 - one shard's trouble must not stop the worker; its lease runs out
            _log.exception("shard_run_failed", shard=holder)
        finally:
            del self._runs[holder]
            if not self._runs_of(run.job.job_id):
                self._slots.forget(run.job.tenant, run.job.job_id)
            self._look_again()

    def _committed(self, run: ShardRun, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        if not outcomes and shard.commits > 1:
            return
        self._report(run, shard, outcomes)
        self._on_outcomes(outcomes)
        self._on_committed(shard.job_id)
        self._look_again()

    def _look_again(self) -> None:
        """Look for work before the next poll, unless all of it is taken: looks may cost reads."""
        if self._looking.may_have_more:
            self._wake.set()

    def _report(self, run: ShardRun, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        standing = self._queue_news.of(run.job)
        self._reporter.submit(shard_report(run.job, shard, outcomes, self._clock.now(), queue=standing))

    async def _renew(self, run: ShardRun) -> None:
        shard, now = run.journal.shard, self._clock.now()
        if shard.claimable_at is None or shard.claimable_at - now > self._policy.lease / 2:
            return
        try:
            with spent_on(shard.job_id):
                await self._shards.renew(shard, lease_until=now + self._policy.lease)
        except ServiceError as error:
            _log.warning("renewal_failed", shard=shard.holder, reason=error.reason)

    async def _look_at_jobs(self) -> None:
        jobs = {(run.job.tenant, run.job.job_id) for run in self._runs.values()}
        await asyncio.gather(*(self._look_at_job(*each) for each in jobs))

    async def _look_at_job(self, tenant: str, job_id: str) -> None:
        try:
            with spent_on(job_id):
                job = await self._jobs.get(tenant, job_id)
        except ServiceError as error:
            _log.warning("job_not_read", job_id=job_id, reason=error.reason)
            return
        self.adopt(job)
        await self._spending.looked_at(job, [run.journal.purse for run in self._runs_of(job_id)])
