"""`factory cancel`: stop a job; what is finished stays."""

from __future__ import annotations

import asyncio

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.commands.watch import JobId
from factory_cli.console import messages, print_json
from factory_cli.progress.convert import from_processor
from factory_cli.progress.snapshot_json import as_json
from factory_cli.settings import Settings, with_settings


@with_settings
def cancel(settings: Settings, job_id: JobId, json: Json = False) -> int:
    """Stop a job. Finished items keep their results; a finished job stays as it is."""
    job = from_processor(asyncio.run(_cancel(settings, job_id)))
    if json:
        print_json(as_json(job))
    else:
        state = job.state.lower().replace("_", " ")
        messages().print(
            f"job {job_id}: {state}, {job.succeeded} of {job.total} have content", soft_wrap=True
        )
    return exit_codes.OK


async def _cancel(settings: Settings, job_id: str) -> pb.Job:
    async with connect(settings.endpoints, settings.credentials) as clients:
        request = pb.CancelJobRequest(job_id=job_id)
        answer: pb.CancelJobResponse = await call_once(
            clients.processor, lambda stub: stub.CancelJob, request
        )
    return answer.job
