"""`factory quality`: what came of single generations, the latest or the worst first."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Annotated

import typer
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from rich.table import Table

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, messages, print_json
from factory_cli.failures import CommandError
from factory_cli.progress import figures
from factory_cli.settings import Settings, with_settings

_MOST_VERSION = 2**31 - 1


@with_settings
def quality(
    settings: Settings,
    *,
    content_type: Annotated[str, typer.Option("--type", help="Only this content type.")] = "",
    template: Annotated[
        str, typer.Option(help="Only this version of a template, as faq@2.", show_default=False)
    ] = "",
    worst: Annotated[
        bool, typer.Option("--worst", help="The lowest scores first, in steps of 0.05; needs --type.")
    ] = False,
    at_least: Annotated[
        float | None, typer.Option("--min", min=0, max=1, help="Only scores of at least this.")
    ] = None,
    at_most: Annotated[
        float | None, typer.Option("--max", min=0, max=1, help="Only scores of at most this.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most records to list.")] = 20,
    json: Json = False,
) -> int:
    """List quality records: what single generations scored, took and cost."""
    template_id, version = _version(template)
    request = pb.ListQualityRecordsRequest(
        template_id=template_id,
        version=version,
        content_type=content_type,
        min_score=at_least,
        max_score=at_most,
    )
    if worst:
        request.order = pb.ListQualityRecordsRequest.ORDER_LOWEST_SCORE_FIRST
    found = asyncio.run(_list(settings, request, limit))
    if json:
        for each in found:
            print_json(_as_json(each))
    elif found:
        answers().print(_table(found))
    else:
        messages().print("there are no such records")
    return exit_codes.OK


def _version(text: str) -> tuple[str, int]:
    if not text:
        return "", 0
    template_id, _, version = text.partition("@")
    if not (template_id and version.isascii() and version.isdigit() and 0 < int(version) <= _MOST_VERSION):
        raise CommandError(f"--template takes an id and a version, as faq@2, not {text!r}")
    return template_id, int(version)


async def _list(
    settings: Settings, request: pb.ListQualityRecordsRequest, limit: int
) -> list[pb.QualityRecord]:
    found: list[pb.QualityRecord] = []
    async with connect(settings.endpoints, settings.credentials) as clients:
        while len(found) < limit:
            request.page_size = min(1000, limit - len(found))
            page: pb.ListQualityRecordsResponse = await call_once(
                clients.optimizer, lambda stub: stub.ListQualityRecords, request
            )
            found.extend(page.records)
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    return found


def _table(found: list[pb.QualityRecord]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for column in ("time", "type", "template", "status", "score", "weakest", "tokens", "duration", "cost"):
        table.add_column(column)
    for record in found:
        table.add_row(*_row(record))
    return table


def _row(record: pb.QualityRecord) -> tuple[str, ...]:
    time = record.record_time.ToDatetime(tzinfo=UTC).astimezone()
    weakest = min(record.aspects, key=lambda each: each.score, default=None)
    return (
        f"{time:%Y-%m-%d %H:%M:%S}",
        record.content_type,
        f"{record.template_id}@{record.version}" if record.template_id else "-",
        _status(record),
        figures.quality(record.score if record.HasField("score") else None),
        f"{weakest.name} {figures.quality(weakest.score)}" if weakest else "-",
        f"{record.prompt_tokens:,} + {record.output_tokens:,}",
        figures.duration(record.latency.ToTimedelta()),
        figures.money(record.cost_micros),
    )


def _status(record: pb.QualityRecord) -> str:
    return pb.Outcome.Status.Name(record.status).removeprefix("STATUS_").lower()


def _as_json(record: pb.QualityRecord) -> dict[str, object]:
    return {
        "time": record.record_time.ToJsonString(),
        "content_type": record.content_type,
        "template_id": record.template_id or None,
        "version": record.version or None,
        "status": _status(record),
        "score": record.score if record.HasField("score") else None,
        "aspects": {each.name: each.score for each in record.aspects},
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "cost_micros": record.cost_micros,
        "latency_s": record.latency.ToTimedelta().total_seconds(),
    }
