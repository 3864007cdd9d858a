"""The options of commands that make jobs, and what they mean to the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import embedded_model
from factory_cli.clients import Clients
from factory_cli.console import messages
from factory_cli.estimate import agreed as agreed_to
from factory_cli.estimate import estimate_job
from factory_cli.failures import CommandError
from factory_cli.submission import templates
from factory_cli.submission.items import Item, make_groups
from factory_cli.submission.reading import read_input
from factory_cli.submission.submitting import JobOptions
from factory_cli.submission.topic import Topic


class Priority(str, Enum):  # noqa: UP042 - typer shows the values of this form
    """How urgent a job is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Policy(str, Enum):  # noqa: UP042 - typer shows the values of this form
    """How items use the cache."""

    USE = "use"
    REFRESH = "refresh"
    BYPASS = "bypass"
    USE_SIMILAR = "use-similar"

    @property
    def in_contract(self) -> pb.CachePolicy.ValueType:
        """It in the contract's terms."""
        return pb.CachePolicy.Value(f"CACHE_POLICY_{self.name}")


InputPath = Annotated[
    Path,
    typer.Argument(
        help='JSONL of topics ({"topic": "…"} a line; - for stdin), a .md or .txt file, or a folder of them.',
        show_default=False,
    ),
]
Name = Annotated[str, typer.Option(help="A title for people; the input's name unless given.")]
PriorityOption = Annotated[Priority, typer.Option(help="How urgent the job is.", case_sensitive=False)]
NewPriority = Annotated[Priority | None, typer.Option(help="How urgent the job is.", case_sensitive=False)]
Labels = Annotated[list[str] | None, typer.Option("--label", help="key=value; may be repeated.")]
Model = Annotated[str, typer.Option(help="The model to ask, instead of the processor's default.")]
PolicyOption = Annotated[
    Policy,
    typer.Option(
        help="refresh: generate anew and replace; bypass: neither read nor store; use-similar: also take the "
        "answer to another prompt that says the same, where the cache runs with CACHE_SEMANTIC=on.",
        case_sensitive=False,
    ),
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Leave bad lines out instead of submitting nothing.")
]
SourceLimit = Annotated[
    int | None,
    typer.Option(
        min=256,
        max=65_536,
        help="The most bytes of a document to use: 2,000 for the embedded model, else 49,152, unless given.",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0, help="The most the job may cost, in US dollars; calls of unknown fate count at their worst."
    ),
]
Estimate = Annotated[
    bool, typer.Option("--estimate", help="First say what it will cost, and on a terminal ask.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where files go.")]

_SOURCE_BYTES = 49_152


def job_options(
    *,
    name: str,
    priority: Priority,
    labels: list[str] | None,
    model: str,
    policy: Policy,
    terms: pb.JobTerms | None = None,
) -> JobOptions:
    """Say the options in the contract's terms.

    Raises:
        CommandError: If a label is not key=value.
    """
    return JobOptions(
        name=name,
        priority=pb.JobPriority.Value(f"JOB_PRIORITY_{priority.value.upper()}"),
        labels=pairs(labels or [], option="--label"),
        model=model,
        cache_policy=policy.in_contract,
        terms=terms,
    )


def micros(dollars: float) -> int:
    """Return dollars as the contract counts them."""
    return round(dollars * 1_000_000)


def pairs(texts: list[str], *, option: str) -> dict[str, str]:
    """Read key=value texts.

    Raises:
        CommandError: Naming each that is none.
    """
    bad = [each for each in texts if not each.partition("=")[0] or "=" not in each]
    if bad:
        raise CommandError(f"{option} takes key=value, not {', '.join(map(repr, bad))}")
    return {key: value for key, _, value in (each.partition("=") for each in texts)}


def read_topics(path: Path, *, skip_bad_lines: bool, source_limit: int | None, embedded: bool) -> list[Topic]:
    """Read the input, telling its author what was cut or left out.

    Raises:
        CommandError: If it cannot be used.
    """
    limit = source_limit or (embedded_model.SOURCE_BYTES if embedded else _SOURCE_BYTES)
    found = read_input(path, skip_bad_lines=skip_bad_lines, source_limit_bytes=limit)
    for warning in found.warnings:
        messages().print(f"note: {warning}", markup=False, soft_wrap=True)
    return found.topics


def asking(clients: Clients) -> Callable[[str], Awaitable[bool]]:
    """Return what shows a draft's estimate and asks whether to start it."""

    async def agreed(job_id: str) -> bool:
        found = await estimate_job(clients.processor, job_id)
        return await asyncio.to_thread(agreed_to, found)

    return agreed


async def plan_items(clients: Clients, topics: list[Topic]) -> list[list[Item]]:
    """Make the items, after checking the topics against the templates.

    Raises:
        CommandError: If a template is unknown or a topic does not fit.
    """
    wanted = {content_type for topic in topics if not topic.prompt for content_type in topic.content_types}
    declared = await templates.look_up(clients.optimizer, wanted)
    templates.check(topics, declared)
    return make_groups(topics, declared=declared)
