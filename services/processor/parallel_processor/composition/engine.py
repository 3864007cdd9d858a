"""What runs shards, put together: claims, settling, reports, results, and the care for jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from parallel_processor import metrics
from parallel_processor.capacity import StageTimes, Throughput
from parallel_processor.composition.base import Base, worker
from parallel_processor.composition.care import Care, care_for_jobs
from parallel_processor.composition.generation import Generation
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.queueing.tenant_weights import parse_tenant_weights
from parallel_processor.results import CommitSignal, Results
from parallel_processor.running.bell import Bell
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.reporting import Reporter
from parallel_processor.running.settling import Settling
from parallel_processor.running.spending import Spending
from parallel_processor.spending.interactive_purse import InteractivePurse
from parallel_processor.spending.tenants import BudgetedTenants


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs shards."""

    claims: Claims
    care: Care
    settling: Settling
    bell: Bell
    reporter: Reporter
    results: Results
    finished: Throughput
    stages: StageTimes
    purse: InteractivePurse

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs shards and looks after jobs, for ever, by name."""
        return {
            "reports": self.reporter.run(),
            "settling": self.settling.run(),
            "catch_up": self.settling.catch_up(),
            "renewals": self.claims.renew(),
            "claims": self.claims.run(),
            "budgets": self.purse.keep(),
            "rings": self.bell.keep_ringing(),
            "bell": self.bell.listen(self.claims.rung),
            "caretaker": self.care.caretaker.run(),
            "oversight": self.care.oversight.run(),
        }


def make_engine(base: Base, generation: Generation) -> Engine:
    """Put together what claims shards, settles them and tells of them."""
    reporter, signal = Reporter(base.neighbours.tracker, rng=base.rng), CommitSignal()
    finished, stages = Throughput(base.clock), StageTimes()
    bell = Bell(base.stores.bell, rng=base.rng)
    tenants = BudgetedTenants(base.stores.budgets, clock=base.clock)

    def changed(job: Job) -> None:
        signal.committed(job.job_id)
        if job.state.terminal:
            base.costs.ended(job.job_id)
        else:  # it runs again: shards were opened anew
            claims.wake()
            bell.ring()

    def observe(outcomes: Sequence[Outcome]) -> None:
        finished.count(len(outcomes))
        stages.add(outcomes)
        metrics.observe_outcomes(outcomes)
        care.oversight.observe(outcomes)

    settling = _settling(base, reporter, changed)
    claims = Claims(
        _claim_policy(base),
        jobs=base.stores.jobs,
        shards=base.stores.shards,
        workshop=generation.workshop,
        slots=generation.lanes,
        reporter=reporter,
        settling=settling,
        bell=bell,
        tenant_weights=parse_tenant_weights(base.settings.processor_tenant_weights),
        clock=base.clock,
        rng=base.rng,
        spending=_spending(base, tenants),
        on_outcomes=observe,
        on_committed=signal.committed,
    )
    care = care_for_jobs(base, claims, bell=bell, reporter=reporter)
    results = Results(
        base.stores.jobs, base.stores.shards, signal=signal, looks=base.pace.looks, clock=base.clock
    )
    purse = _purse(base, tenants)
    return Engine(claims, care, settling, bell, reporter, results, finished, stages, purse)


def _settling(base: Base, reporter: Reporter, changed: Callable[[Job], None]) -> Settling:
    return Settling(
        jobs=base.stores.jobs,
        shards=base.stores.shards,
        reporter=reporter,
        clock=base.clock,
        interval_s=base.pace.settle_s,
        on_change=changed,
    )


def _spending(base: Base, tenants: BudgetedTenants) -> Spending:
    return Spending(
        base.stores.budgets,
        tenants,
        clock=base.clock,
        on_refused=lambda account: metrics.observe_refusal(account.name),
    )


def _purse(base: Base, tenants: BudgetedTenants) -> InteractivePurse:
    return InteractivePurse(
        base.stores.budgets,
        tenants,
        holder=f"{worker()}/{uuid4().hex}",
        clock=base.clock,
        on_refused=lambda account: metrics.observe_refusal(account.name),
    )


def _claim_policy(base: Base) -> ClaimPolicy:
    return ClaimPolicy(
        worker=worker(),
        lease=timedelta(seconds=base.settings.processor_lease_s),
        poll_s=base.settings.processor_poll_s,
        pace=base.pace.commits,
    )
