"""`factory watch`: a job's progress until its end, or its events, one by one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from factory_cli import exit_codes
from factory_cli.clients import Clients, connect
from factory_cli.commands.job_options import Json
from factory_cli.console import messages, print_json
from factory_cli.progress.events import follow_events
from factory_cli.progress.following import follow, get_job
from factory_cli.progress.snapshot_json import as_json
from factory_cli.progress.view import ProgressView
from factory_cli.results.summary import exit_code
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked

JobId = Annotated[str, typer.Argument(help="The job's id.", show_default=False)]


@with_settings
def watch(
    settings: Settings,
    job_id: JobId,
    events: Annotated[
        bool, typer.Option("--events", help="Every event in order, none twice, also across reconnects.")
    ] = False,
    json: Json = False,
) -> int:
    """Watch a job until it is finished. Works without the tracker too, in less detail.

    With --json, one snapshot (or with --events, one event) a line.
    """
    return asyncio.run(_watch(settings, job_id, events=events, json=json))


async def _watch(settings: Settings, job_id: str, *, events: bool, json: bool) -> int:
    with interruption() as asked:
        async with connect(settings.endpoints, settings.credentials) as clients:
            work = (
                _watch_events(clients, job_id, json=json) if events else watch_job(clients, job_id, json=json)
            )
            try:
                return await until_asked(work, asked)
            except Interrupted:
                messages().print(
                    f"the job goes on; watch it again with: factory watch {job_id}", soft_wrap=True
                )
                return exit_codes.INTERRUPTED


async def watch_job(clients: Clients, job_id: str, *, json: bool) -> int:
    """Show a job's progress to its end; returns the exit code its outcome means."""
    with ProgressView(messages()) as view:
        async for snapshot in follow(clients, job_id):
            if json:
                print_json(as_json(snapshot))
            else:
                view.show(snapshot)
            final = snapshot
    if not json and messages().is_terminal:
        messages().print(f"job {job_id}: {final.state.lower().replace('_', ' ')}", soft_wrap=True)
    return exit_code(final)


async def _watch_events(clients: Clients, job_id: str, *, json: bool) -> int:
    await get_job(clients.processor, job_id)  # one that does not exist would be waited for
    async for event in follow_events(clients.tracker, job_id):
        if json:
            print_json(event.facts)
        else:
            print(event.text)  # noqa: T201 - the log that was asked for
    return exit_codes.OK
