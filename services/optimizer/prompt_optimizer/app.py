"""Composition root: from settings to a listening optimizer; the only place that knows every part."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import structlog
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from service_common.clock import Clock, SystemClock
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.storage import DocumentStore, open_store, reached
from service_common.telemetry.metrics import show
from service_common.telemetry.store_metrics import count_operations

from prompt_optimizer.builtin.loading import BuiltIn, load_built_in
from prompt_optimizer.config import OptimizerSettings
from prompt_optimizer.decisions.decision import KEY_BYTES, DecisionIds
from prompt_optimizer.decisions.optimizer import Optimizer
from prompt_optimizer.metrics import REFUSED, UNFLUSHED, OutcomeMetrics
from prompt_optimizer.outcomes.experience import Experience
from prompt_optimizer.outcomes.listing import Listing
from prompt_optimizer.outcomes.recorder import Recorder
from prompt_optimizer.outcomes.write_behind import WriteBehind
from prompt_optimizer.repository import SCHEMA, OutcomeRepository, TemplateRepository, decision_key
from prompt_optimizer.servicer import OptimizerServicer
from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.compiled import CompiledVersion
from prompt_optimizer.templates.following import Follower
from prompt_optimizer.templates.library import Library
from prompt_optimizer.templates.shelf import Shelf
from prompt_optimizer.templates.template import VersionKey
from prompt_optimizer.templates.watching import Watching

SWEEP_INTERVAL_S = 60.0
_PAGE_ID_BYTES = 8
_FLUSH_TIMEOUT_S = 10.0
SWEPT_AT_ONCE = 500
_log = structlog.get_logger("prompt_optimizer")


async def serve(settings: OptimizerSettings, lifecycle: Lifecycle) -> None:
    """Open everything, and return when the optimizer is ready."""
    clock = SystemClock()
    server = RpcServer(settings, lifecycle, clock=clock)
    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count_operations)
    lifecycle.push("store", store.close)
    await reached(store)
    templates = TemplateRepository(store, clock=clock)
    built_in = load_built_in()
    catalogue = Catalogue(template for template, _ in built_in.values())
    follower = Follower(templates, catalogue, clock=clock)
    await follower.sync()
    lifecycle.spawn("follow", _follow(follower, templates, settings.optimizer_poll_interval_s))
    lifecycle.spawn("sweep", _sweep(store, templates))
    lifecycle.on_drain("watchers", catalogue.close)
    ids = DecisionIds(await decision_key(store, secrets.token_bytes(KEY_BYTES)))
    retention = timedelta(days=settings.optimizer_records_retention_d)
    outcomes = OutcomeRepository(store, retention=retention)
    counted = _write_behind(settings, outcomes, lifecycle, clock=clock)
    capacity = settings.optimizer_cached_versions
    shelf = Shelf(templates, _compiled(built_in), capacity=capacity)
    experience = Experience(counted, clock=clock, capacity=capacity + len(built_in))
    counted.listen(experience.learn)
    metrics = OutcomeMetrics(built_in)
    servicer = OptimizerServicer(
        library=Library(templates, catalogue, built_in=built_in, clock=clock),
        optimizer=Optimizer(catalogue, shelf, templates, lengths=experience, ids=ids),
        recorder=Recorder(counted, experience, ids=ids, clock=clock, on_counted=metrics.counted),
        statistics=counted,
        listing=Listing(outcomes),
        watching=Watching(catalogue, shelf),
        open_access=settings.auth_tokens_file is None,
        max_message_bytes=settings.max_message_bytes,
    )
    server.add(optimizer_pb2_grpc.add_OptimizerServiceServicer_to_server, servicer)
    await server.start()
    await server.ready()


def _write_behind(
    settings: OptimizerSettings, outcomes: OutcomeRepository, lifecycle: Lifecycle, *, clock: Clock
) -> WriteBehind:
    counted = WriteBehind(
        outcomes,
        clock=clock,
        new_id=lambda: secrets.token_hex(_PAGE_ID_BYTES),
        interval_s=settings.optimizer_flush_interval_s,
        most=settings.optimizer_max_unflushed,
        on_refused=REFUSED.inc,
    )
    show(UNFLUSHED, lambda: len(counted))
    # Closed last first: the server answers what it has, then the loop ends, then what waits is stored.
    lifecycle.push("write_behind", counted.flush, timeout_s=_FLUSH_TIMEOUT_S)
    lifecycle.spawn("write_behind", counted.run())
    return counted


def _compiled(built_in: BuiltIn) -> dict[VersionKey, CompiledVersion]:
    return {
        VersionKey(template.family, version.version): CompiledVersion(version)
        for template, version in built_in.values()
    }


async def _follow(follower: Follower, templates: TemplateRepository, interval_s: float) -> None:
    async with templates.watch() as feed:
        await follower.follow(feed, interval_s=interval_s)


async def _sweep(store: DocumentStore, templates: TemplateRepository) -> None:
    while True:
        try:
            await templates.finish_deletions()
            while await store.sweep_expired(SWEPT_AT_ONCE) == SWEPT_AT_ONCE:
                pass
        except ServiceError as error:
            _log.warning("sweep_failed", reason=error.reason, retry_s=SWEEP_INTERVAL_S)
        await asyncio.sleep(SWEEP_INTERVAL_S)
