"""What looks after jobs that are under way, put together: who changes them, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from parallel_processor.composition.base import Base
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.shard import Shard
from parallel_processor.lifetime import Lifetime
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


def care_for_jobs(base: Base, claims: Claims, *, bell: Bell, reporter: Reporter) -> Care:
    """Let changes of jobs reach the shards that run here, other processors and the tracker."""
    jobs, shards, budgets, clock = base.stores.jobs, base.stores.shards, base.stores.budgets, base.clock

    def spread(job: Job) -> None:
        reporter.submit(job_report(job, clock.now()))
        claims.adopt(job)
        claims.wake()
        bell.ring()

    def changed(job: Job) -> None:
        spread(job)
        caretaker.wake()

    def opened(job: Job, shards_opened: Sequence[Shard]) -> None:
        for each in shards_opened:
            reporter.submit(shard_report(job, each, (), clock.now()))
        spread(job)

    caretaker = _caretaker(base, claims, spread)
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
        read_every_s=base.settings.processor_lease_s / 4,
    )
    return Care(lifetime, resting, caretaker, oversight)


def _caretaker(base: Base, claims: Claims, spread: Callable[[Job], None]) -> Caretaker:
    retention_d = base.settings.processor_retention_d
    return Caretaker(
        jobs=base.stores.jobs,
        shards=base.stores.shards,
        clock=base.clock,
        retention=None if retention_d is None else timedelta(days=retention_d),
        take=claims.take,
        on_change=spread,
    )
