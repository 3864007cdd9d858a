"""What looks after jobs that are under way, put together: who changes them, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from service_common.clock import Clock

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.shard import Shard
from parallel_processor.lifetime import Lifetime
from parallel_processor.repository import BudgetRepository, JobRepository, ShardRepository
from parallel_processor.resting import Resting
from parallel_processor.running.bell import Bell
from parallel_processor.running.caretaking import Caretaker
from parallel_processor.running.claims import Claims
from parallel_processor.running.exhaustion import Exhaustion
from parallel_processor.running.oversight import Oversight
from parallel_processor.running.reporting import Reporter, job_report, shard_report


@dataclass(frozen=True, slots=True)
class Care:
    """What looks after jobs, at work."""

    lifetime: Lifetime
    resting: Resting
    caretaker: Caretaker
    oversight: Oversight


def care_for_jobs(
    jobs: JobRepository,
    shards: ShardRepository,
    claims: Claims,
    budgets: BudgetRepository,
    *,
    bell: Bell,
    reporter: Reporter,
    clock: Clock,
    lease_s: float,
    retention_d: float | None,
) -> Care:
    """Let changes of jobs reach the shards that run here, other processors and the tracker."""

    def spread(job: Job) -> None:
        reporter.submit(job_report(job, clock.now()))
        claims.adopt(job)
        claims.wake()
        bell.ring()

    caretaker = Caretaker(
        jobs=jobs,
        shards=shards,
        clock=clock,
        retention=None if retention_d is None else timedelta(days=retention_d),
        take=claims.take,
        on_change=spread,
    )

    def changed(job: Job) -> None:
        spread(job)
        caretaker.wake()

    def opened(job: Job, shards_opened: Sequence[Shard]) -> None:
        for each in shards_opened:
            reporter.submit(shard_report(job, each, (), clock.now()))
        spread(job)

    lifetime = Lifetime(
        jobs,
        shards,
        clock=clock,
        on_change=changed,
        on_retry=opened,
        on_deleted=lambda _: caretaker.wake(),
    )
    resting = Resting(jobs, budgets, clock=clock, on_change=changed)
    oversight = Oversight(
        lambda: claims.runs,
        jobs=jobs,
        lifetime=lifetime,
        exhaustion=Exhaustion(budgets, rest=resting.rest, clock=clock),
        adopt=claims.adopt,
        clock=clock,
        read_every_s=lease_s / 4,
    )
    return Care(lifetime, resting, caretaker, oversight)
