"""A command that changes one job by one call, and says what the job is then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.console import messages, print_json
from factory_cli.progress.convert import from_processor
from factory_cli.progress.snapshot_json import as_json
from factory_cli.settings import Settings


def change_job(
    settings: Settings, method: Callable[[Any], Any], request: Any, *, json: bool, note: str = ""
) -> int:
    """Call, and show the job of the answer.

    Args:
        settings: Where the processor is.
        method: Picks the method.
        request: The message.
        json: Whether to print the job for scripts.
        note: What else to say to people.
    """
    job: pb.Job = asyncio.run(call_processor(settings, method, request)).job
    told = from_processor(job)
    if json:
        print_json(as_json(told))
        return exit_codes.OK
    state = told.state.lower().replace("_", " ")
    parts = [f"job {job.job_id}: {state}, {told.succeeded} of {told.total} have content"]
    parts += [each for each in (told.message, note) if each]
    messages().print("; ".join(parts), soft_wrap=True, markup=False)
    return exit_codes.OK


async def call_processor(settings: Settings, method: Callable[[Any], Any], request: Any) -> Any:
    """Make one call to the processor."""
    async with connect(settings.endpoints, settings.credentials) as clients:
        return await call_once(clients.processor, method, request)
