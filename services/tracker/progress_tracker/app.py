"""Composition root: settings → store → repository → ledger and hub → servicer → server."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from contentfactory.tracker.v1 import tracker_pb2_grpc
from service_common.clock import Clock, SystemClock
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.storage import DocumentStore, is_hosted, open_store
from service_common.telemetry.store_metrics import count_operations

from progress_tracker.config import Settings
from progress_tracker.convert import EventMessages, snapshots_frame
from progress_tracker.hub import Hub
from progress_tracker.ledger import Ledger
from progress_tracker.metrics import CommitMetrics
from progress_tracker.repository import SCHEMA, Repository
from progress_tracker.resume_token import ResumeTokens
from progress_tracker.servicer import TrackerServicer
from progress_tracker.watching import Watching

_SWEEP_EVERY_S = 60.0
_SWEEP_AT_ONCE = 500
_log = structlog.get_logger("progress_tracker.app")


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Start the tracker; returns when it is SERVING."""
    await start(settings, lifecycle, clock=SystemClock())


async def start(settings: Settings, lifecycle: Lifecycle, *, clock: Clock) -> RpcServer:
    """Open everything and say SERVING.

    Args:
        settings: What to run with.
        lifecycle: Closes what is opened here.
        clock: Tells the time to everything.
    """
    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count_operations)
    lifecycle.push("store", store.close)
    events = EventMessages()
    repository = Repository(
        store,
        clock=clock,
        retention=timedelta(days=settings.tracker_retention_days),
        encoder=events,
        read_items=events.read_items,
    )
    tokens = ResumeTokens(await repository.token_key())
    hub = Hub(repository, tokens, clock=clock, poll_s=settings.tracker_poll_interval_s)
    ledger = _ledger(settings, repository, hub, clock=clock)
    lifecycle.push("ledger", ledger.close)
    servicer = TrackerServicer(
        ledger,
        repository,
        watching=Watching(hub, repository, tokens, clock=clock, encode_snapshots=snapshots_frame),
        tokens=tokens,
        clock=clock,
        write_timeout_s=settings.tracker_write_timeout_s,
    )
    server = RpcServer(settings, lifecycle, clock=clock)
    server.add(tracker_pb2_grpc.add_TrackerServiceServicer_to_server, servicer)
    await server.start()
    lifecycle.on_drain("watchers", hub.close)
    lifecycle.spawn("poll", hub.poll())
    lifecycle.spawn("sweep", _sweep(store))
    await server.ready()
    return server


def _ledger(settings: Settings, repository: Repository, hub: Hub, *, clock: Clock) -> Ledger:
    interval_s = settings.tracker_commit_interval_s
    if interval_s is None:
        interval_s = 1.25 if is_hosted(settings.store_url) else 0.0
    return Ledger(
        repository,
        clock=clock,
        listeners=(CommitMetrics(), hub),
        max_jobs=settings.tracker_max_jobs_in_memory,
        max_items=settings.tracker_max_items_in_memory,
        interval_s=interval_s,
    )


async def _sweep(store: DocumentStore) -> None:
    """Remove what has expired, until cancelled; a store out of reach is tried again."""
    while True:
        try:
            while await store.sweep_expired(_SWEEP_AT_ONCE) == _SWEEP_AT_ONCE:
                pass
        except ServiceError as error:
            _log.warning("sweep_failed", reason=error.reason)
        await asyncio.sleep(_SWEEP_EVERY_S)
