"""Composition root: settings → store → neighbours → engine → servicer → server."""

from __future__ import annotations

import asyncio
import random

import structlog
from contentfactory.processor.v1 import processor_pb2_grpc
from service_common.clock import Clock, SystemClock
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.storage import DocumentStore, is_hosted, open_store, reached
from service_common.storage.metering import Operation
from service_common.telemetry.metrics import show
from service_common.telemetry.store_metrics import count_operations

from parallel_processor import metrics
from parallel_processor.capacity import BreakerReading, Capacity, ResourceMeter, Throughput
from parallel_processor.config import Settings
from parallel_processor.content_versions.listing import ContentVersions
from parallel_processor.engine import Engine, Stores, start_engine
from parallel_processor.estimating.estimator import Estimator
from parallel_processor.intake import Intake
from parallel_processor.interactive import Interactive
from parallel_processor.job_costs import JobCosts
from parallel_processor.neighbours.pools import Neighbours, open_neighbours
from parallel_processor.pacing import pacing
from parallel_processor.repository import SCHEMA
from parallel_processor.servicer import ProcessorServicer
from parallel_processor.tenant_budgets import TenantBudgets

_log = structlog.get_logger("parallel_processor.app")
_SWEEP_EVERY_S = 60.0
_SWEEP_AT_ONCE = 500


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Open everything and say SERVING."""
    clock, rng = SystemClock(), random.Random()
    costs = JobCosts(metrics.observe_job_cost)

    def count(collection: str, operation: Operation, number: int) -> None:
        count_operations(collection, operation, number)
        costs.count(operation, number)

    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count)
    lifecycle.push("store", store.close)
    await reached(store)
    stores = Stores.over(store)
    neighbours = open_neighbours(settings, lifecycle, clock=clock)
    pace = pacing(settings, hosted=is_hosted(settings.store_url))
    engine = await start_engine(
        settings, lifecycle, stores, neighbours, pace=pace, costs=costs, clock=clock, rng=rng
    )
    lifecycle.spawn("sweep", _sweep(store))
    server = RpcServer(settings, lifecycle, clock=clock)
    server.add(
        processor_pb2_grpc.add_ProcessorServiceServicer_to_server,
        _servicer(stores, neighbours, engine, clock=clock),
    )
    await server.start()
    lifecycle.on_drain(
        "shards", lambda: _drain(engine, settings.drain_grace_s), timeout_s=settings.drain_grace_s + 5
    )
    await server.ready()


def _servicer(stores: Stores, neighbours: Neighbours, engine: Engine, *, clock: Clock) -> ProcessorServicer:
    def started() -> None:
        engine.claims.wake()
        engine.bell.ring()

    meter, answered = ResourceMeter(clock), Throughput(clock)
    engine.calls.on_answer(lambda: answered.count(1))
    capacity = Capacity(
        endpoint=engine.endpoint,
        elsewhere=engine.elsewhere,
        lanes=engine.lanes,
        stages=engine.stages,
        shards=lambda: engine.claims.running,
        breakers=lambda: [
            *neighbours.breakers(),
            *(BreakerReading("model", model, state) for model, state in engine.calls.breakers.readings()),
        ],
        meter=meter,
        calls=answered,
    )
    show(metrics.ACTIVE_WORKERS, lambda: engine.lanes.calling)
    show(metrics.QUEUE_SIZE, lambda: engine.claims.queued_items)
    metrics.show_waiting(engine.lanes.waiting_by_priority)
    show(metrics.BUDGET_USED, lambda: engine.claims.budget_used_ratio)
    show(metrics.THROUGHPUT, engine.finished.per_second)
    show(metrics.MEMORY_MB, lambda: meter.read().memory_bytes / 2**20)
    show(metrics.CPU_PERCENT, lambda: meter.read().cpu_percent)
    return ProcessorServicer(
        intake=Intake(
            jobs=stores.jobs,
            requests=stores.requests,
            clock=clock,
            report=engine.reporter.submit,
            on_started=started,
        ),
        lifetime=engine.care.lifetime,
        jobs=stores.jobs,
        results=engine.results,
        versions=ContentVersions(stores.content_versions),
        interactive=Interactive(
            engine.workshop, calls=engine.calls, requests=stores.requests, purse=engine.purse, clock=clock
        ),
        estimator=Estimator(
            engine.workshop,
            jobs=stores.jobs,
            cache=neighbours.cache,
            measures=engine.recorder,
            calls=engine.calls,
            rng=random.Random(),
        ),
        budgets=TenantBudgets(stores.budgets, clock=clock, on_set=engine.care.resting.wake),
        capacity=capacity,
        handlers=engine.workshop.post_processing.names,
    )


async def _drain(engine: Engine, grace_s: float) -> None:
    """Hand shards back, then tell the tracker what it has not heard."""
    await engine.claims.drain(grace_s)
    try:
        async with asyncio.timeout(2.0):
            await engine.purse.look(closing=True)
            await engine.recorder.flush()
            await engine.bell.flushed()
            await engine.workshop.content.flushed()
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
