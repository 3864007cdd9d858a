"""Follows a job to its end: by the tracker's stream or, while that is away, by asking the processor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from contentfactory.processor.v1 import processor_pb2
from contentfactory.tracker.v1 import tracker_pb2
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.calls import call_patiently
from factory_cli.clients import Clients
from factory_cli.failures import from_service_error
from factory_cli.progress.convert import from_processor, from_tracker
from factory_cli.progress.rate import RateMeter
from factory_cli.progress.snapshot import JobSnapshot

_POLL_S = 1.0
_TRACKER_PAUSE_S = 3.0
_INTERVAL_MS = 250
_IDLE_S = 5
# The tracker can answer no better than this for a while; the processor is asked meanwhile.
_TRACKER_AWAY = frozenset(
    {
        ErrorKind.UNAVAILABLE,
        ErrorKind.NOT_FOUND,
        ErrorKind.RESOURCE_EXHAUSTED,
        ErrorKind.DEADLINE_EXCEEDED,
        ErrorKind.INTERNAL,
        ErrorKind.CANCELLED,
        ErrorKind.UNIMPLEMENTED,
    }
)


async def get_job(processor: ClientPool[Any], job_id: str) -> JobSnapshot:
    """Ask the processor, the only truth, about a job.

    Raises:
        CommandError: As it answered, or when it stayed away.
    """
    request = processor_pb2.GetJobRequest(job_id=job_id)
    answer: processor_pb2.GetJobResponse = await call_patiently(processor, lambda stub: stub.GetJob, request)
    return from_processor(answer.job)


async def follow(clients: Clients, job_id: str) -> AsyncGenerator[JobSnapshot]:
    """Yield snapshots until the job is final; the last one is the processor's word.

    Raises:
        CommandError: If there is no such job, or the processor stays away.
    """
    meter, cap = RateMeter(), _Cap(clients, job_id)
    while True:
        async with aclosing(_from_tracker(clients, job_id)) as frames, cap:
            async for each in frames:
                yield cap.complete(meter.complete(each, now=time.monotonic()))
        retry_tracker_at = time.monotonic() + _TRACKER_PAUSE_S
        while True:
            told = await get_job(clients.processor, job_id)
            yield meter.complete(told, now=time.monotonic())
            if told.is_final:
                return
            await asyncio.sleep(_POLL_S)
            if time.monotonic() >= retry_tracker_at:
                break


class _Cap:
    """What a job may cost, which the tracker does not know; asked once, and nobody waits for the answer."""

    def __init__(self, clients: Clients, job_id: str) -> None:
        self._clients = clients
        self._job_id = job_id
        self._asking: asyncio.Task[JobSnapshot] | None = None
        self._micros: int | None = None

    async def __aenter__(self) -> None:
        self._asking = asyncio.create_task(get_job(self._clients.processor, self._job_id))

    async def __aexit__(self, *_: object) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def complete(self, snapshot: JobSnapshot) -> JobSnapshot:
        """Return a snapshot with the cap, as far as it is known by now."""
        if self._asking is not None and self._asking.done() and not self._asking.cancelled():
            if self._asking.exception() is None:
                self._micros = self._asking.result().cap_micros
            self._asking = None
        return snapshot if self._micros is None else replace(snapshot, cap_micros=self._micros)


async def _from_tracker(clients: Clients, job_id: str) -> AsyncGenerator[JobSnapshot]:
    """Yield snapshots until the job is final or the tracker is away."""
    request = tracker_pb2.WatchProgressRequest(job_id=job_id, mode=tracker_pb2.WATCH_MODE_SNAPSHOTS)
    request.min_interval.FromMilliseconds(_INTERVAL_MS)
    request.idle_interval.FromSeconds(_IDLE_S)
    try:
        stream = clients.tracker.stream(lambda stub: stub.WatchProgress, request, key=job_id.encode())
        async with aclosing(stream) as frames:
            async for frame in frames:
                # Nothing new for a while: did the job's end never reach the tracker?
                if not frame.snapshots and (await get_job(clients.processor, job_id)).is_final:
                    return
                for each in frame.snapshots:
                    snapshot = from_tracker(each)
                    yield snapshot
                    if snapshot.is_final:
                        return
    except ServiceError as error:
        if error.kind not in _TRACKER_AWAY:
            raise from_service_error(error, service="tracker") from error
