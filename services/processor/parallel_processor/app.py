"""Composition root: settings → base → generation → engine → servicer → server."""

from __future__ import annotations

import asyncio
import random

import structlog
from contentfactory.processor.v1 import processor_pb2_grpc
from service_common.clock import SystemClock
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.storage import DocumentStore, is_hosted, open_store, reached
from service_common.storage.metering import Operation
from service_common.telemetry.metrics import show
from service_common.telemetry.store_metrics import count_operations

from parallel_processor import metrics
from parallel_processor.capacity import BreakerReading, Capacity, ResourceMeter, Throughput
from parallel_processor.composition.base import Base, Stores
from parallel_processor.composition.calling import elsewhere
from parallel_processor.composition.engine import Engine, make_engine
from parallel_processor.composition.generation import Generation, open_generation
from parallel_processor.composition.pacing import pacing
from parallel_processor.config import Settings
from parallel_processor.estimator import Estimator
from parallel_processor.intake import Intake
from parallel_processor.interactive import Interactive
from parallel_processor.job_costs import JobCosts
from parallel_processor.neighbours.pools import open_neighbours
from parallel_processor.repository import SCHEMA
from parallel_processor.servicer import ProcessorServicer
from parallel_processor.tenant_budgets import TenantBudgets
from parallel_processor.version_listing import ContentVersions

_log = structlog.get_logger("parallel_processor.app")
_SWEEP_EVERY_S = 60.0
_SWEEP_AT_ONCE = 500


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Open everything and say SERVING."""
    base, store = await _open(settings, lifecycle)
    generation = await open_generation(base)
    engine = make_engine(base, generation)
    going_on = generation.background(base) | engine.background() | {"sweep": _sweep(store)}
    for name, work in going_on.items():
        lifecycle.spawn(name, work)
    server = RpcServer(settings, lifecycle, clock=base.clock)
    server.add(processor_pb2_grpc.add_ProcessorServiceServicer_to_server, _servicer(base, generation, engine))
    await server.start()
    grace_s = settings.drain_grace_s
    lifecycle.on_drain("shards", lambda: _drain(generation, engine, grace_s), timeout_s=grace_s + 5)
    await server.ready()


async def _open(settings: Settings, lifecycle: Lifecycle) -> tuple[Base, DocumentStore]:
    clock, costs = SystemClock(), JobCosts(metrics.observe_job_cost)

    def count(collection: str, operation: Operation, number: int) -> None:
        count_operations(collection, operation, number)
        costs.count(operation, number)

    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count)
    lifecycle.push("store", store.close)
    await reached(store)
    base = Base(
        settings,
        lifecycle,
        Stores.over(store),
        open_neighbours(settings, lifecycle, clock=clock),
        pacing(settings, hosted=is_hosted(settings.store_url)),
        costs,
        clock,
        random.Random(),
    )
    return base, store


def _servicer(base: Base, generation: Generation, engine: Engine) -> ProcessorServicer:
    stores, clock = base.stores, base.clock
    meter = ResourceMeter(clock)
    _show(generation, engine, meter)
    return ProcessorServicer(
        intake=_intake(base, engine),
        lifetime=engine.care.lifetime,
        jobs=stores.jobs,
        results=engine.results,
        versions=ContentVersions(stores.content_versions),
        interactive=Interactive(
            generation.workshop,
            calls=generation.calls,
            requests=stores.requests,
            purse=engine.purse,
            clock=clock,
        ),
        estimator=Estimator(
            generation.workshop,
            jobs=stores.jobs,
            cache=base.neighbours.cache,
            measures=generation.recorder,
            calls=generation.calls,
            rng=base.rng,
        ),
        budgets=TenantBudgets(stores.budgets, clock=clock, on_set=engine.care.resting.wake),
        capacity=_capacity(base, generation, engine, meter),
        handlers=generation.workshop.post_processing.names,
    )


def _intake(base: Base, engine: Engine) -> Intake:
    def started() -> None:
        engine.claims.wake()
        engine.bell.ring()

    return Intake(
        jobs=base.stores.jobs,
        requests=base.stores.requests,
        clock=base.clock,
        report=engine.reporter.submit,
        on_started=started,
    )


def _capacity(base: Base, generation: Generation, engine: Engine, meter: ResourceMeter) -> Capacity:
    calls, answered = generation.calls, Throughput(base.clock)
    calls.on_answer(lambda: answered.count(1))
    return Capacity(
        endpoint=base.settings.processor_model_url,
        elsewhere=elsewhere(base.settings),
        lanes=generation.lanes,
        stages=engine.stages,
        shards=lambda: engine.claims.running,
        breakers=lambda: [
            *base.neighbours.breakers(),
            *(BreakerReading("model", model, state) for model, state in calls.breakers.readings()),
        ],
        meter=meter,
        calls=answered,
    )


def _show(generation: Generation, engine: Engine, meter: ResourceMeter) -> None:
    """Show in the metrics what is read only when somebody asks."""
    show(metrics.ACTIVE_WORKERS, lambda: generation.lanes.calling)
    show(metrics.QUEUE_SIZE, lambda: engine.claims.queued_items)
    metrics.show_waiting(generation.lanes.waiting_by_priority)
    show(metrics.BUDGET_USED, lambda: engine.claims.budget_used_ratio)
    show(metrics.THROUGHPUT, engine.finished.per_second)
    show(metrics.MEMORY_MB, lambda: meter.read().memory_bytes / 2**20)
    show(metrics.CPU_PERCENT, lambda: meter.read().cpu_percent)


async def _drain(generation: Generation, engine: Engine, grace_s: float) -> None:
    """Hand shards back, then tell the tracker what it has not heard."""
    await engine.claims.drain(grace_s)
    try:
        async with asyncio.timeout(2.0):
            await engine.purse.look(closing=True)
            await generation.recorder.flush()
            await engine.bell.flushed()
            await generation.content.flushed()
            await engine.reporter.flushed()
    except TimeoutError:
        _log.warning("reports_left", producers=engine.reporter.pending)


async def _sweep(store: DocumentStore) -> None:
    """Remove what has expired, for ever."""
    while True:
        try:
            while await store.sweep_expired(_SWEEP_AT_ONCE) == _SWEEP_AT_ONCE:
                pass
        except ServiceError as error:
            _log.warning("sweep_delayed", reason=error.reason)
        await asyncio.sleep(_SWEEP_EVERY_S)
