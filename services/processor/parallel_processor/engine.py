"""What runs shards, put together and set going: workshop, claims, journal, settling, reports."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from service_common.clock import Clock
from service_common.config import ConfigError, Problem
from service_common.lifecycle import Lifecycle
from service_common.resilience.breaker import BreakerPolicy, CircuitBreaker
from service_common.storage import DocumentStore

from parallel_processor import metrics
from parallel_processor.capacity import StageTimes, Throughput
from parallel_processor.care import Care, care_for_jobs
from parallel_processor.config import Settings
from parallel_processor.handlers import builtin
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.handlers.registry import HandlersError, Registry, load
from parallel_processor.job_costs import JobCosts
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.limiting import guard_of, open_lanes
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.client import ModelClient
from parallel_processor.model.endpoints import Endpoint, Endpoints, EndpointsError, load_endpoints
from parallel_processor.model.prices import PriceTable, PriceTableError
from parallel_processor.neighbours.cache import LEASE_RENEWAL_S
from parallel_processor.neighbours.pools import Neighbours
from parallel_processor.pacing import Pacing
from parallel_processor.repository import (
    BellRepository,
    ContentVersionRepository,
    JobRepository,
    RequestRepository,
    ShardRepository,
    VersionRepository,
)
from parallel_processor.results import CommitSignal, Results
from parallel_processor.running.accepting import Acceptance
from parallel_processor.running.bell import Bell
from parallel_processor.running.breakers import Breakers
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.content import Content
from parallel_processor.running.hedges import Hedges
from parallel_processor.running.hedging import HedgedCalls
from parallel_processor.running.journal import Pace
from parallel_processor.running.making import Making
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.queueing.tenant_weights import parse_tenant_weights
from parallel_processor.running.reporting import Reporter
from parallel_processor.running.retry_budget import RetryBudgets
from parallel_processor.running.settling import Settling
from parallel_processor.running.versions import ActiveVersions
from parallel_processor.running.workshop import Workshop

_log = structlog.get_logger("parallel_processor.engine")
_MODEL_BREAKER = BreakerPolicy(window_s=20.0, min_calls=10, open_s=1.0, open_cap_s=15.0, half_open_calls=2)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the processor's documents are, by kind."""

    jobs: JobRepository
    shards: ShardRepository
    requests: RequestRepository
    versions: VersionRepository
    content_versions: ContentVersionRepository
    bell: BellRepository

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
    lanes = open_lanes(settings, clock=clock, rng=rng)
    calls = _model_calls(settings, lifecycle, lanes=lanes, clock=clock, rng=rng)
    outcomes = Outcomes(neighbours.optimizer, score_wait_s=settings.processor_score_wait_s)
    metrics.show(metrics.OUTCOMES_DROPPED, lambda: outcomes.dropped)
    versions = ActiveVersions(stores.versions, neighbours.optimizer, all_tenants=neighbours.acts_for_all)
    await versions.load()
    content = Content(neighbours.cache, keep_cut=settings.processor_cache_truncated)
    budgets = RetryBudgets()
    metrics.show(metrics.RETRY_BUDGET, lambda: budgets.left(clock.monotonic()))
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
        hedging=_hedging(settings, calls, clock=clock),
        acceptance=Acceptance(metrics.observe_repair),
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

    bell = Bell(stores.bell, rng=rng)
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
        on_outcomes=observe,
        on_committed=signal.committed,
    )
    results = Results(stores.jobs, stores.shards, signal=signal, looks=pace.looks, clock=clock)
    care = care_for_jobs(
        stores.jobs,
        stores.shards,
        claims,
        bell=bell,
        reporter=reporter,
        clock=clock,
        lease_s=settings.processor_lease_s,
        retention_d=settings.processor_retention_d,
    )
    return Engine(
        endpoint=settings.processor_model_url,
        elsewhere=_elsewhere(settings),
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


def _model_calls(
    settings: Settings, lifecycle: Lifecycle, *, lanes: Lanes, clock: Clock, rng: random.Random
) -> ModelCalls:
    key = settings.processor_model_api_key
    default = Endpoint(settings.processor_model_url, key.get_secret_value() if key else None)

    def connect(endpoint: Endpoint) -> ModelClient:
        try:
            client = ModelClient(
                endpoint.url,
                api_key=endpoint.api_key,
                total_s=settings.processor_model_timeout_s,
                connections=settings.processor_max_concurrency,
                max_tokens_field=endpoint.max_tokens_field,
                clock=clock,
                on_rates=lambda model, hints: lanes.of(model).heard(hints),
            )
        except ValueError as error:
            problem = Problem("PROCESSOR_ENDPOINTS_FILE", f"a url {error}")
            if endpoint is default:
                problem = Problem("PROCESSOR_MODEL_URL", str(error))
            raise ConfigError([problem]) from error
        lifecycle.push("model", client.close)
        return client

    endpoints = Endpoints(default, _endpoints(settings), connect=connect)
    breakers = _breakers(clock=clock, rng=rng)
    breakers.of(settings.processor_model)  # shown from the start
    return ModelCalls(endpoints, prices=_prices(settings), breakers=breakers, lanes=lanes)


def _endpoints(settings: Settings) -> dict[str, Endpoint]:
    file = settings.processor_endpoints_file
    try:
        return load_endpoints(file, os.environ) if file else {}
    except EndpointsError as error:
        raise ConfigError([Problem("PROCESSOR_ENDPOINTS_FILE", str(error))]) from error


def _elsewhere(settings: Settings) -> dict[str, str]:
    return {model: each.url for model, each in _endpoints(settings).items()}


def _hedging(settings: Settings, calls: ModelCalls, *, clock: Clock) -> HedgedCalls | None:
    ratio = settings.processor_hedge_ratio
    return HedgedCalls(calls, Hedges(ratio), clock=clock, on_hedge=metrics.observe_hedge) if ratio else None


def _breakers(*, clock: Clock, rng: random.Random) -> Breakers:
    def make(model: str) -> CircuitBreaker:
        hooks = (metrics.model_breaker_changed(model),)
        return CircuitBreaker(model, _MODEL_BREAKER, clock=clock, rng=rng, hooks=hooks)

    return Breakers(make, forgotten=metrics.model_breaker_forgotten)


def _prices(settings: Settings) -> PriceTable:
    if settings.processor_prices_file is None:
        _log.info("models_cost_nothing", advice="set PROCESSOR_PRICES_FILE to account for money")
        return PriceTable.free()
    try:
        return PriceTable.load(settings.processor_prices_file)
    except PriceTableError as error:
        raise ConfigError([Problem("PROCESSOR_PRICES_FILE", str(error))]) from error
