"""Collects a job's results as they finish, each once, across restarts of the processor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.calls import PATIENCE_S, call_patiently
from factory_cli.failures import from_service_error

_PAUSE_S = 0.5
_PAGE_SIZE = 200
_RESUMABLE = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.CANCELLED, ErrorKind.INTERNAL})


async def stream_results(
    processor: ClientPool[Any], job_id: str, *, patience_s: float = PATIENCE_S
) -> AsyncGenerator[pb.ItemResult]:
    """Yield each result once until the job is finished.

    Args:
        processor: Whose job it is.
        job_id: Which job.
        patience_s: How long the processor may be away.

    Raises:
        CommandError: As it answered, or when it stayed away.
    """
    token = ""
    alive_at = time.monotonic()
    while True:
        request = pb.StreamResultsRequest(job_id=job_id, resume_token=token)
        try:
            stream = processor.stream(lambda stub: stub.StreamResults, request)
            async with aclosing(stream) as frames:
                async for frame in frames:
                    for result in frame.results:
                        yield result
                    token = frame.resume_token
                    alive_at = time.monotonic()
                return
        except ServiceError as error:
            away_for_s = time.monotonic() - alive_at
            if error.kind not in _RESUMABLE or away_for_s > patience_s:
                raise from_service_error(error, service="processor") from error
        await asyncio.sleep(_PAUSE_S)


async def list_results(processor: ClientPool[Any], job_id: str) -> AsyncGenerator[pb.ItemResult]:
    """Yield the results there are now.

    Raises:
        CommandError: As the processor answered.
    """
    token = ""
    while True:
        request = pb.ListResultsRequest(job_id=job_id, page_size=_PAGE_SIZE, page_token=token)
        page: pb.ListResultsResponse = await call_patiently(processor, lambda stub: stub.ListResults, request)
        for result in page.results:
            yield result
        token = page.next_page_token
        if not token:
            return
