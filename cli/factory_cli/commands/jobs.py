"""`factory jobs`: the tenant's jobs, latest first."""

from __future__ import annotations

import asyncio
from datetime import UTC
from enum import Enum
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb
from rich.table import Table

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, messages, print_json
from factory_cli.progress import figures
from factory_cli.progress.convert import from_processor
from factory_cli.progress.snapshot import JobSnapshot
from factory_cli.progress.snapshot_json import as_json
from factory_cli.progress.view import spending, why
from factory_cli.settings import Settings, with_settings

State = Enum(  # type: ignore[misc]  # the members are the contract's
    "State",
    {
        name.removeprefix("JOB_STATE_"): name.removeprefix("JOB_STATE_").lower()
        for name, number in pb.JobState.items()
        if number
    },
    type=str,
)


@with_settings
def jobs(
    settings: Settings,
    state: Annotated[
        State | None, typer.Option(help="Only jobs in this state.", case_sensitive=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most jobs to list.")] = 20,
    json: Json = False,
) -> int:
    """List jobs, the latest first."""
    wanted = pb.JobState.Value(f"JOB_STATE_{state.name}") if state else pb.JOB_STATE_UNSPECIFIED
    found = asyncio.run(_list(settings, wanted, limit))
    if json:
        for job in found:
            print_json(as_json(from_processor(job)))
    elif found:
        answers().print(_table(found))
    else:
        messages().print("there are no such jobs")
    return exit_codes.OK


async def _list(settings: Settings, state: pb.JobState.ValueType, limit: int) -> list[pb.Job]:
    found: list[pb.Job] = []
    token = ""
    async with connect(settings.endpoints, settings.credentials) as clients:
        while len(found) < limit:
            request = pb.ListJobsRequest(
                state=state, page_size=min(1000, limit - len(found)), page_token=token
            )
            page: pb.ListJobsResponse = await call_once(
                clients.processor, lambda stub: stub.ListJobs, request
            )
            found.extend(page.jobs)
            token = page.next_page_token
            if not token:
                break
    return found[:limit]


def _table(found: list[pb.Job]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for column in ("job", "name", "state", "done", "created", "duration", "cost", "why"):
        table.add_column(column, overflow="fold" if column == "job" else "ellipsis")
    for job in found:
        table.add_row(*_row(job, from_processor(job)))
    return table


def _row(job: pb.Job, snapshot: JobSnapshot) -> tuple[str, ...]:
    created = job.create_time.ToDatetime(tzinfo=UTC).astimezone()
    return (
        job.job_id,
        job.display_name,
        snapshot.state.lower().replace("_", " "),
        f"{snapshot.succeeded}/{snapshot.total}",
        f"{created:%Y-%m-%d %H:%M}",
        figures.duration(snapshot.duration),
        spending(snapshot),
        "" if snapshot.state == "CANCELLED" else why(snapshot),
    )
