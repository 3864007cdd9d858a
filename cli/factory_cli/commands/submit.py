"""`factory submit`: hand a job to running services and print its id."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from factory_cli import exit_codes
from factory_cli.clients import connect
from factory_cli.commands import job_options as options
from factory_cli.commands import term_options as terms
from factory_cli.commands.watch import watch_job
from factory_cli.console import print_json
from factory_cli.settings import Settings, with_settings
from factory_cli.submission.submitting import JobOptions, submit
from factory_cli.submission.topic import Topic
from factory_cli.supervision.specs import uses_embedded_model


@with_settings
def submit_command(
    settings: Settings,
    path: options.InputPath,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Then watch it to its end.")] = False,
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
    """Submit topics or documents as a job to services that are running, and print the job's id."""
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
    return asyncio.run(_submit(settings, topics, asked, watch=watch, estimate=estimate, json=json))


async def _submit(
    settings: Settings, topics: list[Topic], asked: JobOptions, *, watch: bool, estimate: bool, json: bool
) -> int:
    async with connect(settings.endpoints, settings.credentials) as clients:
        groups = await options.plan_items(clients, topics)
        agreed = options.asking(clients) if estimate else None
        job_id = await submit(clients.processor, groups, asked, agreed=agreed)
        if json:
            print_json({"job_id": job_id, "topics": len(groups), "items": sum(map(len, groups))})
        else:
            print(job_id)  # noqa: T201 - the answer, for scripts to take
        return await watch_job(clients, job_id, json=json) if watch else exit_codes.OK
