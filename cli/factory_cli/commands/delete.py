"""`factory delete`: remove a job with its results and content versions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.commands.changing import call_processor
from factory_cli.commands.watch import JobId
from factory_cli.console import messages
from factory_cli.settings import Settings, with_settings


@with_settings
def delete(
    settings: Settings,
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Delete a draft or a finished job: its items, results and content versions are gone for good."""
    if not yes:
        typer.confirm(f"Delete job {job_id} with all its results?", abort=True)
    request = pb.DeleteJobRequest(job_id=job_id)
    asyncio.run(call_processor(settings, lambda stub: stub.DeleteJob, request))
    messages().print(f"job {job_id}: deleted", soft_wrap=True)
    return exit_codes.OK
