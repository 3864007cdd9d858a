"""Creates a job, adds its items and starts it; every step may be repeated after a lost answer."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.errors import ServiceError
from service_common.rpc.client import ClientPool
from service_common.rpc.status import from_status

from factory_cli import exit_codes
from factory_cli.calls import call_patiently
from factory_cli.failures import CommandError, describe
from factory_cli.submission.batches import in_batches
from factory_cli.submission.items import Item

_CALL_TIMEOUT_S = 30.0
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What holds for the whole job.

    Attributes:
        name: A title for people.
        priority: `JobPriority` of the contract.
        labels: For people and filters.
        model: The model to ask; empty for the usual one.
        cache_policy: `CachePolicy` of the contract.
        terms: What it may cost, by when, its share, when to give up; None for no terms.
    """

    name: str = ""
    priority: pb.JobPriority.ValueType = pb.JOB_PRIORITY_UNSPECIFIED
    labels: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    cache_policy: pb.CachePolicy.ValueType = pb.CACHE_POLICY_UNSPECIFIED
    terms: pb.JobTerms | None = None


async def submit(
    processor: ClientPool[Any],
    groups: list[list[Item]],
    options: JobOptions,
    *,
    on_created: Callable[[str], None] = lambda _: None,
    agreed: Callable[[str], Awaitable[bool]] | None = None,
) -> str:
    """Run a job's items: create, add, start.

    Args:
        processor: Where.
        groups: Its items, by topic.
        options: What holds for the whole job.
        on_created: Told the job's id as soon as there is one.
        agreed: Asked with the job's id whether to start it, once it has its items.

    Returns:
        The job's id.

    Raises:
        CommandError: If items were refused, or it was not agreed to; the job is cancelled.
        ServiceError: If the processor refuses or cannot be reached.
    """
    job_id = await draft(processor, groups, options, on_created=on_created)
    if agreed is not None and not await agreed(job_id):
        await _call(processor, lambda stub: stub.CancelJob, pb.CancelJobRequest(job_id=job_id))
        raise CommandError("nothing was started", exit_codes.INTERRUPTED)
    await _call(processor, lambda stub: stub.StartJob, pb.StartJobRequest(job_id=job_id))
    return job_id


async def draft(
    processor: ClientPool[Any],
    groups: list[list[Item]],
    options: JobOptions,
    *,
    on_created: Callable[[str], None] = lambda _: None,
) -> str:
    """Create a job with its items, and start nothing; arguments as for `submit`.

    Returns:
        The job's id.

    Raises:
        CommandError: If items were refused; the job is cancelled and its problems are listed.
        ServiceError: If the processor refuses or cannot be reached.
    """
    request = pb.CreateJobRequest(
        display_name=options.name,
        priority=options.priority,
        labels=dict(options.labels),
        model=options.model,
        cache_policy=options.cache_policy,
        terms=options.terms,
        request_id=uuid.uuid4().hex,
    )
    created: pb.CreateJobResponse = await _call(processor, lambda stub: stub.CreateJob, request)
    job_id = created.job.job_id
    on_created(job_id)
    problems: list[str] = []
    for batch in in_batches(groups):
        adding = pb.BatchAddItemsRequest(job_id=job_id, items=batch)
        added: pb.BatchAddItemsResponse = await _call(processor, lambda stub: stub.BatchAddItems, adding)
        problems.extend(_problems(batch, added))
    if problems:
        await _call(processor, lambda stub: stub.CancelJob, pb.CancelJobRequest(job_id=job_id))
        raise _refused(job_id, problems)
    return job_id


async def _call(processor: ClientPool[Any], method: Callable[[Any], Any], request: Any) -> Any:
    return await call_patiently(processor, method, request, timeout_s=_CALL_TIMEOUT_S)


def _problems(batch: list[pb.JobItem], answer: pb.BatchAddItemsResponse) -> list[str]:
    return [
        f"{item.item_id}: {_text(from_status(result.error))}"
        for item, result in zip(batch, answer.results, strict=True)
        if result.WhichOneof("outcome") == "error"
    ]


def _text(error: ServiceError) -> str:
    return describe(error, service="refused")


def _refused(job_id: str, problems: list[str]) -> CommandError:
    shown = problems[:_SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"… and {len(problems) - len(shown)} more")
    head = f"{len(problems)} items were refused; job {job_id} was not started and is cancelled:"
    return CommandError("\n".join([head, *shown]), exit_codes.USAGE)
