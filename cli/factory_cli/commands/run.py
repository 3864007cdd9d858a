"""`factory run`: from topics or documents to finished files, starting whatever is not running."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.carrying_out import Outcome, carry_out
from factory_cli.clients import Clients, connect
from factory_cli.commands import job_options as options
from factory_cli.commands import term_options as terms
from factory_cli.commands.up import up_detached
from factory_cli.console import answers, messages, print_json
from factory_cli.progress.view import ProgressView
from factory_cli.results import summary
from factory_cli.results.output_files import OutputFolder
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked
from factory_cli.submission.submitting import JobOptions, submit
from factory_cli.submission.topic import Topic
from factory_cli.supervision.board import StatusBoard
from factory_cli.supervision.fleet import Fleet
from factory_cli.supervision.specs import uses_embedded_model
from factory_cli.supervision.supervisor import Change


@dataclass(slots=True)
class _Run:
    """One run: what was asked, and the job once there is one."""

    settings: Settings
    topics: list[Topic]
    options: JobOptions
    out: Path
    json: bool
    cancel_on_interrupt: bool
    estimate: bool
    job_id: str = field(default="")


@with_settings
def run(
    settings: Settings,
    path: options.InputPath,
    *,
    out: options.Out = Path("out"),
    keep_up: Annotated[
        bool, typer.Option("--keep-up", help="Leave running what had to be started (stop: factory down).")
    ] = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the job instead of leaving it.")
    ] = False,
    name: options.Name = "",
    priority: options.PriorityOption = options.Priority.NORMAL,
    label: options.Labels = None,
    model: options.Model = "",
    cache_policy: options.PolicyOption = options.Policy.USE,
    weight: terms.Weight = None,
    max_cost: terms.MaxCost = None,
    deadline: terms.Deadline = None,
    max_failed: terms.MaxFailed = None,
    fallback: terms.Fallback = None,
    estimate: options.Estimate = False,
    skip_bad_lines: options.SkipBadLines = False,
    source_limit: options.SourceLimit = None,
    json: options.Json = False,
) -> int:
    """Make content from topics or documents: an outline and seven pieces of each, in OUT/<topic>/.

    Starts what is not running (and stops it at the end), submits a job, shows progress, writes each piece as
    it finishes, and sums up. Interrupted with Ctrl-C, the job is kept: the message says how to go on.
    """
    agreed, _ = terms.job_terms(
        weight=weight, max_cost=max_cost, deadline=deadline, max_failed=max_failed, fallback=fallback
    )
    asked = options.job_options(
        name=name or path.name,
        priority=priority,
        labels=label,
        model=model,
        policy=cache_policy,
        terms=agreed,
    )
    topics = options.read_topics(
        path,
        skip_bad_lines=skip_bad_lines,
        source_limit=source_limit,
        embedded=uses_embedded_model(settings.endpoints, settings.environ),
    )
    work = _Run(settings, topics, asked, out, json, cancel_on_interrupt, estimate)
    return asyncio.run(_with_services(work, keep_up=keep_up))


async def _with_services(work: _Run, *, keep_up: bool) -> int:
    settings = work.settings
    if keep_up and (code := await up_detached(settings)) != exit_codes.OK:
        return code
    console = messages()
    board = StatusBoard(console)
    shown = True

    def on_change(change: Change) -> None:
        if shown:
            board.show(change)

    fleet = Fleet(
        settings.endpoints,
        data_dir=settings.data_dir,
        environ=settings.environ,
        on_change=on_change,
        credentials=settings.credentials.channel,
    )
    with interruption() as asked:
        async with fleet, connect(settings.endpoints, settings.credentials) as clients:
            try:
                with board:
                    await until_asked(fleet.start(), asked)
                shown = False  # the progress view has the terminal now
                return await until_asked(_do(work, clients), asked)
            except Interrupted:
                return await _interrupted(work, clients, services_stop=bool(fleet.plan.to_start))


async def _do(work: _Run, clients: Clients) -> int:
    groups = await options.plan_items(clients, work.topics)
    console = messages()

    def created(job_id: str) -> None:
        work.job_id = job_id

    agreed = options.asking(clients) if work.estimate else None
    await submit(clients.processor, groups, work.options, on_created=created, agreed=agreed)
    count = sum(map(len, groups))
    console.print(f"job {work.job_id}: {len(groups):,} topics, {count:,} items", soft_wrap=True)
    folder = OutputFolder(work.out, job_id=work.job_id)
    with ProgressView(console) as view:
        outcome = await carry_out(clients, work.job_id, view=view, folder=folder)
    show_outcome(outcome, folder, json=work.json)
    return summary.exit_code(outcome.job)


def show_outcome(outcome: Outcome, folder: OutputFolder, *, json: bool) -> None:
    """Print what became of a job: a table, or one JSON object."""
    files = len(folder.written)
    if json:
        print_json(summary.as_json(outcome.job, outcome.tally, files=files, out=folder.path))
    else:
        answers().print(
            summary.render(outcome.job, outcome.tally, files=files, out=folder.path), soft_wrap=True
        )


async def _interrupted(work: _Run, clients: Clients, *, services_stop: bool) -> int:
    console = messages()
    if not work.job_id:
        console.print("interrupted; nothing was submitted")
    elif work.cancel_on_interrupt:
        request = pb.CancelJobRequest(job_id=work.job_id)
        await call_once(clients.processor, lambda stub: stub.CancelJob, request)
        console.print(f"interrupted; job {work.job_id} is cancelled", soft_wrap=True)
    else:
        state = "is kept, and goes on after: factory up" if services_stop else "goes on"
        console.print(f"interrupted; job {work.job_id} {state}", soft_wrap=True)
        console.print(f"follow it with: factory watch {work.job_id}", soft_wrap=True)
        console.print(f"write its files with: factory results {work.job_id} --out {work.out}", soft_wrap=True)
    return exit_codes.INTERRUPTED
