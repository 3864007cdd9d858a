"""`factory results`: a job's finished content, as files or as JSON lines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from factory_cli import exit_codes
from factory_cli.carrying_out import Outcome
from factory_cli.clients import Clients, connect
from factory_cli.commands.job_options import Json, Out
from factory_cli.commands.run import show_outcome
from factory_cli.commands.watch import JobId
from factory_cli.console import messages, print_json
from factory_cli.progress.following import get_job
from factory_cli.results.output_files import OutputFolder
from factory_cli.results.streaming import list_results, stream_results
from factory_cli.results.summary import exit_code
from factory_cli.results.tally import Tally
from factory_cli.settings import Settings, with_settings


@with_settings
def results(
    settings: Settings,
    job_id: JobId,
    out: Out = Path("out"),
    wait: Annotated[bool, typer.Option("--wait", help="Go on until the job is finished.")] = False,
    json: Json = False,
) -> int:
    """Write what a job has finished so far into files; with --json, print each result on a line instead."""
    return asyncio.run(_results(settings, job_id, OutputFolder(out, job_id=job_id), wait=wait, json=json))


async def _results(settings: Settings, job_id: str, folder: OutputFolder, *, wait: bool, json: bool) -> int:
    async with connect(settings.endpoints, settings.credentials) as clients:
        tally = await _collect(clients, job_id, folder, wait=wait, json=json)
        job = await get_job(clients.processor, job_id)
    if not json:
        show_outcome(Outcome(job, tally), folder, json=False)
    if job.is_final:
        return exit_code(job)
    messages().print(f"the job is not finished ({job.finished} of {job.total}); --wait goes on to its end")
    return exit_codes.OK


async def _collect(clients: Clients, job_id: str, folder: OutputFolder, *, wait: bool, json: bool) -> Tally:
    tally = Tally()
    source = stream_results if wait else list_results
    async for result in source(clients.processor, job_id):
        tally.add(result)
        if json:
            print_json(MessageToDict(result, preserving_proto_field_name=True))
        else:
            folder.write(result)
    return tally
