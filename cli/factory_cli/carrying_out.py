"""One job from here to its end: progress shown, results written as they finish, all of it counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from factory_cli.clients import Clients
from factory_cli.progress.following import follow, get_job
from factory_cli.progress.snapshot import JobSnapshot
from factory_cli.progress.view import ProgressView
from factory_cli.results.output_files import OutputFolder
from factory_cli.results.streaming import stream_results
from factory_cli.results.tally import Tally

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: Its last state.
        tally: What its results add up to.
    """

    job: JobSnapshot
    tally: Tally


async def carry_out(clients: Clients, job_id: str, *, view: ProgressView, folder: OutputFolder) -> Outcome:
    """Wait for a job's end, showing progress and writing results meanwhile.

    Raises:
        CommandError: If the processor stays away, or a file cannot be written.
    """
    tally = Tally()
    showing = asyncio.create_task(_show(clients, job_id, view))
    try:
        async for result in stream_results(clients.processor, job_id):
            folder.write(result)
            tally.add(result)
        job = await get_job(clients.processor, job_id)
        while not job.is_final:
            await asyncio.sleep(_POLL_S)
            job = await get_job(clients.processor, job_id)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    view.show(job)
    return Outcome(job, tally)


async def _show(clients: Clients, job_id: str, view: ProgressView) -> None:
    async for snapshot in follow(clients, job_id):
        view.show(snapshot)
        if snapshot.is_final:
            return
