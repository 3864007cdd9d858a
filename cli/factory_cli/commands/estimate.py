"""`factory estimate`: what a job would cost and take, without starting it."""

from __future__ import annotations

import asyncio

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.calls import call_patiently
from factory_cli.clients import connect
from factory_cli.commands import job_options as options
from factory_cli.console import answers, print_json
from factory_cli.estimate import as_json, estimate_job, render
from factory_cli.settings import Settings, with_settings
from factory_cli.submission.submitting import JobOptions, draft
from factory_cli.submission.topic import Topic
from factory_cli.supervision.specs import uses_embedded_model


@with_settings
def estimate(
    settings: Settings,
    path: options.InputPath,
    *,
    model: options.Model = "",
    cache_policy: options.PolicyOption = options.Policy.USE,
    skip_bad_lines: options.SkipBadLines = False,
    source_limit: options.SourceLimit = None,
    json: options.Json = False,
) -> int:
    """Say what topics or documents would cost and how long they would take; nothing is spent.

    Needs running services. The draft that is made for it is cancelled afterwards.
    """
    asked = options.job_options(
        name=f"estimate of {path.name}",
        priority=options.Priority.NORMAL,
        labels=None,
        model=model,
        policy=cache_policy,
    )
    topics = options.read_topics(
        path,
        skip_bad_lines=skip_bad_lines,
        source_limit=source_limit,
        embedded=uses_embedded_model(settings.endpoints, settings.environ),
    )
    found = asyncio.run(_estimate(settings, topics, asked))
    if json:
        print_json(as_json(found))
    else:
        answers().print(render(found), soft_wrap=True)
    return exit_codes.OK


async def _estimate(settings: Settings, topics: list[Topic], asked: JobOptions) -> pb.JobEstimate:
    async with connect(settings.endpoints, settings.credentials) as clients:
        groups = await options.plan_items(clients, topics)
        job_id = await draft(clients.processor, groups, asked)
        try:
            return await estimate_job(clients.processor, job_id)
        finally:
            request = pb.CancelJobRequest(job_id=job_id)
            await call_patiently(clients.processor, lambda stub: stub.CancelJob, request)
