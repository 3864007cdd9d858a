"""What runs shards, put together and set going: workshop, claims, journal, settling, reports."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import structlog
from service_common.clock import Clock
from service_common.config import ConfigError, Problem
from service_common.lifecycle import Lifecycle
from service_common.storage import DocumentStore
from service_common.telemetry.metrics import show

from parallel_processor import metrics
from parallel_processor.calling import elsewhere, hedging, model_calls
from parallel_processor.capacity import StageTimes, Throughput
from parallel_processor.care import Care, care_for_jobs
from parallel_processor.config import Settings
from parallel_processor.estimating.recorder import Recorder, measured
from parallel_processor.handlers import builtin
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.handlers.registry import HandlersError, Registry, load
from parallel_processor.job_costs import JobCosts
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.limiting import guard_of, open_lanes
from parallel_processor.limits.lanes import Lanes
from parallel_processor.neighbours.cache import LEASE_RENEWAL_S
from parallel_processor.neighbours.pools import Neighbours
from parallel_processor.pacing import Pacing
from parallel_processor.repository import (
    BellRepository,
    BudgetRepository,
    ContentVersionRepository,
    JobRepository,
    MeasureRepository,
    RequestRepository,
    ShardRepository,
    VersionRepository,
)
from parallel_processor.results import CommitSignal, Results
from parallel_processor.running.accepting import Acceptance
from parallel_processor.running.bell import Bell
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.content import Content
from parallel_processor.running.journal import Pace
from parallel_processor.running.making import Making
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.queueing.tenant_weights import parse_tenant_weights
from parallel_processor.running.reporting import Reporter
from parallel_processor.running.retry_budget import RetryBudgets
from parallel_processor.running.settling import Settling
from parallel_processor.running.spending import Spending
from parallel_processor.running.versions import ActiveVersions
from parallel_processor.running.workshop import Workshop
from parallel_processor.spending.interactive_purse import InteractivePurse
from parallel_processor.spending.tenants import BudgetedTenants

_log = structlog.get_logger("parallel_processor.engine")
_MEASURES_S = 5.0
"""How often what calls took is written, for estimates to come."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the processor's documents are, by kind."""

    jobs: JobRepository
    shards: ShardRepository
    requests: RequestRepository
    versions: VersionRepository
    content_versions: ContentVersionRepository
    bell: BellRepository
    budgets: BudgetRepository
    measures: MeasureRepository

    @staticmethod
    def over(store: DocumentStore) -> Stores:
        """Return them all over one store."""
        return Stores(
            JobRepository(store),
            ShardRepository(store),
            RequestRepository(store),
            VersionRepository(store),
            ContentVersionRepository(store),
            BellRepository(store, worker=_worker()),
            BudgetRepository(store),
            MeasureRepository(store),
        )


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs shards, at work."""

    endpoint: str
    elsewhere: Mapping[str, str]
    workshop: Workshop
    calls: ModelCalls
    lanes: Lanes
    claims: Claims
    care: Care
    settling: Settling
    bell: Bell
    reporter: Reporter
    results: Results
    finished: Throughput
    stages: StageTimes
    purse: InteractivePurse
    recorder: Recorder


async def start_engine(
    settings: Settings,
    lifecycle: Lifecycle,
    stores: Stores,
    neighbours: Neighbours,
    *,
    pace: Pacing,
    costs: JobCosts,
    clock: Clock,
    rng: random.Random,
) -> Engine:
    """Put together what runs shards, and set it going."""
    lanes = open_lanes(settings, pace, clock=clock, rng=rng)
    calls = model_calls(settings, lifecycle, lanes=lanes, clock=clock, rng=rng)
    outcomes = Outcomes(neighbours.optimizer, score_wait_s=settings.processor_score_wait_s)
    show(metrics.OUTCOMES_DROPPED, lambda: outcomes.dropped)
    versions = ActiveVersions(stores.versions, neighbours.optimizer, all_tenants=neighbours.acts_for_all)
    await versions.load()
    content = Content(neighbours.cache, keep_cut=settings.processor_cache_truncated)
    recorder = Recorder(stores.measures, interval_s=_MEASURES_S)
    budgets = RetryBudgets()
    show(metrics.RETRY_BUDGET, lambda: budgets.left(clock.monotonic()))
    making = Making(
        content=content,
        calls=calls,
        outcomes=outcomes,
        lanes=lanes,
        clock=clock,
        rng=rng,
        max_attempts=settings.processor_max_attempts,
        on_spend=metrics.observe_spend,
        on_error=metrics.observe_error,
        budgets=budgets,
        hedging=hedging(settings, calls, clock=clock),
        acceptance=Acceptance(metrics.observe_repair),
        on_answer=lambda owner, order, answer: measured(recorder, owner, order, answer),
    )
    prompts = Prompts(neighbours.optimizer, versions, rng=rng)
    workshop = _workshop(settings, prompts, making, content=content, clock=clock)
    engine = _engine(
        settings,
        stores,
        neighbours,
        workshop,
        pace=pace,
        costs=costs,
        lanes=lanes,
        calls=calls,
        recorder=recorder,
        clock=clock,
        rng=rng,
    )
    for name, work in (
        ("versions", versions.follow(rng)),
        ("leases", content.keep_leases(LEASE_RENEWAL_S)),
        ("outcomes", outcomes.deliver_backlog()),
        ("reports", engine.reporter.run()),
        ("settling", engine.settling.run()),
        ("catch_up", engine.settling.catch_up()),
        ("renewals", engine.claims.renew()),
        ("claims", engine.claims.run()),
        ("guard", guard_of(settings, lanes, clock=clock).run()),
        ("budgets", engine.purse.keep()),
        ("measures", engine.recorder.run()),
        ("rings", engine.bell.keep_ringing()),
        ("bell", engine.bell.listen(engine.claims.rung)),
        ("caretaker", engine.care.caretaker.run()),
        ("oversight", engine.care.oversight.run()),
    ):
        lifecycle.spawn(name, work)
    return engine


def _workshop(
    settings: Settings, prompts: Prompts, making: Making, *, content: Content, clock: Clock
) -> Workshop:
    return Workshop(
        prompts=prompts,
        content=content,
        making=making,
        post_processing=PostProcessing(
            _handlers(settings),
            threads=settings.processor_handler_threads,
            clock=clock,
            observe=metrics.observe_handler,
        ),
        default_model=settings.processor_model,
        max_output_tokens=settings.processor_max_output_tokens,
        clock=clock,
        patience_s=settings.processor_patience_s,
        urgent_patience_s=settings.processor_urgent_patience_s,
    )


def _handlers(settings: Settings) -> Registry:
    registry = Registry(timeout_s=settings.processor_handler_timeout_s)
    builtin.register(registry)
    try:
        load(registry, settings.processor_handlers)
    except HandlersError as error:
        raise ConfigError([Problem("PROCESSOR_HANDLERS", str(error))]) from error
    return registry


def _engine(
    settings: Settings,
    stores: Stores,
    neighbours: Neighbours,
    workshop: Workshop,
    *,
    pace: Pacing,
    costs: JobCosts,
    lanes: Lanes,
    calls: ModelCalls,
    recorder: Recorder,
    clock: Clock,
    rng: random.Random,
) -> Engine:
    """Put together what claims shards, settles them and tells of them."""
    reporter = Reporter(neighbours.tracker, rng=rng)
    signal, finished, stages = CommitSignal(), Throughput(clock), StageTimes()

    def changed(job: Job) -> None:
        signal.committed(job.job_id)
        if job.state.terminal:
            costs.ended(job.job_id)
        else:  # it runs again: shards were opened anew
            claims.wake()
            bell.ring()

    bell, tenants = Bell(stores.bell, rng=rng), BudgetedTenants(stores.budgets, clock=clock)
    settling = Settling(
        jobs=stores.jobs,
        shards=stores.shards,
        reporter=reporter,
        clock=clock,
        interval_s=pace.settle_s,
        on_change=changed,
    )

    def observe(outcomes: Sequence[Outcome]) -> None:
        finished.count(len(outcomes))
        stages.add(outcomes)
        metrics.observe_outcomes(outcomes)
        care.oversight.observe(outcomes)

    claims = Claims(
        _claim_policy(settings, pace.commits),
        jobs=stores.jobs,
        shards=stores.shards,
        workshop=workshop,
        slots=lanes,
        reporter=reporter,
        settling=settling,
        bell=bell,
        tenant_weights=parse_tenant_weights(settings.processor_tenant_weights),
        clock=clock,
        rng=rng,
        spending=_spending(stores, tenants, clock=clock),
        on_outcomes=observe,
        on_committed=signal.committed,
    )
    purse = InteractivePurse(
        stores.budgets,
        tenants,
        holder=f"{_worker()}/{uuid4().hex}",
        clock=clock,
        on_refused=lambda account: metrics.observe_refusal(account.name),
    )
    results = Results(stores.jobs, stores.shards, signal=signal, looks=pace.looks, clock=clock)
    care = care_for_jobs(
        stores.jobs,
        stores.shards,
        claims,
        stores.budgets,
        bell=bell,
        reporter=reporter,
        clock=clock,
        lease_s=settings.processor_lease_s,
        retention_d=settings.processor_retention_d,
    )
    return Engine(
        endpoint=settings.processor_model_url,
        elsewhere=elsewhere(settings),
        workshop=workshop,
        calls=calls,
        lanes=lanes,
        claims=claims,
        care=care,
        settling=settling,
        bell=bell,
        reporter=reporter,
        results=results,
        finished=finished,
        stages=stages,
        purse=purse,
        recorder=recorder,
    )


def _spending(stores: Stores, tenants: BudgetedTenants, *, clock: Clock) -> Spending:
    return Spending(
        stores.budgets, tenants, clock=clock, on_refused=lambda account: metrics.observe_refusal(account.name)
    )


def _worker() -> str:
    """Return this process's name."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _claim_policy(settings: Settings, pace: Pace) -> ClaimPolicy:
    return ClaimPolicy(
        worker=_worker(),
        lease=timedelta(seconds=settings.processor_lease_s),
        poll_s=settings.processor_poll_s,
        pace=pace,
    )
