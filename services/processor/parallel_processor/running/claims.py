"""Which shards this worker runs: claimed while there is room, renewed, and handed back at the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.item import Item, Outcome
from parallel_processor.jobs.job import JobState
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import Claim, JobRepository, ShardRepository
from parallel_processor.running.bell import Bell
from parallel_processor.running.journal import Journal, Pace
from parallel_processor.running.reporting import JOB_PRODUCER, Reporter, job_report, shard_report
from parallel_processor.running.settling import Settling
from parallel_processor.running.shard_run import ShardRun
from parallel_processor.running.slots import Slots
from parallel_processor.running.spending import Spending
from parallel_processor.running.workshop import Workshop
from parallel_processor.spending.purse import ShardPurse

_log = structlog.get_logger("parallel_processor.running.claims")
_CLAIM_AT_ONCE = 8


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
        slots: Slots,
        reporter: Reporter,
        settling: Settling,
        bell: Bell,
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
        self._clock = clock
        self._rng = rng
        self._spending = spending
        self._on_outcomes = on_outcomes
        self._on_committed = on_committed
        self._runs: dict[str, ShardRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._more = True  # whether the last look may have left something to claim
        self._look_by = float("-inf")  # when a lease seen in the last look may have ended
        self._draining = False

    @property
    def running(self) -> int:
        """Shards that run here."""
        return len(self._runs)

    @property
    def queued_items(self) -> int:
        """Unfinished items of the shards that run here, beyond those that are with the model."""
        return max(0, sum(run.unfinished for run in self._runs.values()) - self._slots.active)

    @property
    def budget_used_ratio(self) -> float:
        """The highest share of its cap that a job which runs here has used, 0 to 1."""
        used: Counter[str] = Counter()
        for run in self._runs.values():
            used[run.job.job_id] += run.journal.shard.spent + run.journal.shard.reserved
        return self._spending.used_ratio(used)

    def wake(self) -> None:
        """Look for work now: a job was started here, or the bell was rung."""
        self._wake.set()

    async def cancel_job(self, job_id: str) -> None:
        """Stop a job's shards that run here."""
        await asyncio.gather(*(run.cancel_job() for run in self._runs_of(job_id)))

    async def run(self) -> None:
        """Claim and run shards, for ever."""
        while True:
            self._wake.clear()
            try:
                await self._claim_some()
            except ServiceError as error:
                self._look_by = float("-inf")
                _log.warning("claiming_delayed", reason=error.reason)
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
        if not self._bell.is_heard or self._clock.monotonic() >= self._look_by:
            return True
        return self._more and self._room()

    async def renew(self) -> None:
        """Renew the leases of all runs, and learn of jobs that were cancelled elsewhere, for ever."""
        while True:
            await asyncio.sleep(self._policy.lease.total_seconds() / 4)
            await self.renew_once()

    async def renew_once(self) -> None:
        """Renew the leases that no commit has renewed lately, and look at each job once."""
        runs = list(self._runs.values())
        jobs = {(run.job.tenant, run.job.job_id) for run in runs}
        await asyncio.gather(*map(self._renew, runs), *(self._look_at_job(*each) for each in jobs))

    async def drain(self, grace_s: float) -> None:
        """Claim nothing more, let calls in flight come back, commit, and hand the shards back."""
        self._draining = True
        await asyncio.gather(*(run.drain(grace_s) for run in self._runs.values()))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    def _runs_of(self, job_id: str) -> Iterable[ShardRun]:
        return [run for run in self._runs.values() if run.job.job_id == job_id]

    def _room(self, shard: Shard | None = None) -> bool:
        """Whether to claim: too few items to keep the slots busy, or a shard more urgent than all others."""
        if self._draining or len(self._runs) >= self._policy.max_shards:
            return False
        if shard is not None and all(run.job.priority < shard.priority for run in self._runs.values()):
            return True
        return self._slots.active + self._slots.waiting + self._preparing() < 2 * self._slots.limit

    def _preparing(self) -> int:
        return sum(run.unprepared for run in self._runs.values())

    async def _claim_some(self) -> None:
        self._more, self._look_by = True, float("-inf")  # unless a look says otherwise
        if self._draining or len(self._runs) >= self._policy.max_shards:
            return
        found = await self._look()
        for shard in found:
            if not self._room(shard):
                self._more = True
                return
            if shard.holder in self._runs:
                continue
            with spent_on(shard.job_id):
                await self._claim(shard)

    async def _claim(self, shard: Shard) -> None:
        try:
            claim = await self._shards.claim(
                shard, owner=self._policy.worker, now=self._clock.now(), lease=self._policy.lease
            )
        except ServiceError as error:
            _log.debug("claim_lost", shard=shard.holder, reason=error.reason)
            return
        await self._start(claim)

    async def _look(self) -> Sequence[Shard]:
        """Look for shards, and note when the next look is due at the latest.

        Whoever claims or renews a lease after this look holds it for longer than a lease from now.
        """
        now, looked_at = self._clock.now(), self._clock.monotonic()
        look = await self._shards.claimable(now=now, limit=_CLAIM_AT_ONCE)
        self._more = len(look.shards) == _CLAIM_AT_ONCE
        until = min(look.next_expiry or now + self._policy.lease, now + self._policy.lease)
        self._look_by = looked_at + (until - now).total_seconds()
        return look.shards

    async def _start(self, claim: Claim) -> None:
        shard = claim.shard
        if not self._reporter.is_acknowledged(shard.job_id, JOB_PRODUCER, claim.job.revision):
            self._reporter.submit(job_report(claim.job, self._clock.now()))
        items = await self._jobs.read_items(claim.job, shard.sources)
        committed = await self._shards.results(shard) if shard.result_chunks else []
        run = self._new_run(claim, items, await self._spending.purse(claim.job))
        self._runs[shard.holder] = run
        task = asyncio.create_task(self._run(shard.holder, run, committed), name=shard.holder)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if committed:  # what the worker before reported last may be lost: tell all of it again
            outcomes = [outcome for _, outcome in committed]
            self._report(run, shard, outcomes)

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
            if run.job.state is JobState.CANCELLED:
                await run.cancel_job()
            await run.run(committed)
            if run.journal.shard.phase is ShardPhase.FINISHED:
                self._settling.finished(run.journal.shard)
            elif run.journal.shard.phase is not ShardPhase.SETTLED:
                await self._shards.hand_back(run.journal.shard, now=self._clock.now())
                self._bell.ring()
        except ServiceError as error:
            _log.warning("shard_run_ended", shard=holder, reason=error.reason, message=error.message)
        except Exception:  # noqa: BLE001 - one shard's trouble must not stop the worker; its lease runs out
            _log.exception("shard_run_failed", shard=holder)
        finally:
            del self._runs[holder]
            self._look_again()

    def _committed(self, run: ShardRun, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        if not outcomes and shard.commits > 1:
            return
        self._report(run, shard, outcomes)
        self._on_outcomes(outcomes)
        self._on_committed(shard.job_id)
        if self._room():
            self._look_again()

    def _look_again(self) -> None:
        """Look for work before the next poll, unless all of it is taken: each look reads what is leased."""
        if self._more:
            self._wake.set()

    def _report(self, run: ShardRun, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        self._reporter.submit(shard_report(run.job, shard, outcomes, self._clock.now()))

    async def _renew(self, run: ShardRun) -> None:
        shard, now = run.journal.shard, self._clock.now()
        if shard.claimable_at is None or shard.claimable_at - now > self._policy.lease / 2:
            return
        try:
            with spent_on(shard.job_id):
                await self._shards.renew(shard, lease_until=now + self._policy.lease)
        except ServiceError as error:
            _log.warning("renewal_failed", shard=shard.holder, reason=error.reason)

    async def _look_at_job(self, tenant: str, job_id: str) -> None:
        try:
            with spent_on(job_id):
                job = await self._jobs.get(tenant, job_id)
        except ServiceError as error:
            _log.warning("job_not_read", job_id=job_id, reason=error.reason)
            return
        await self._spending.looked_at(job, [run.journal.purse for run in self._runs_of(job_id)])
        if job.state is JobState.CANCELLED:
            await self.cancel_job(job_id)
