"""`factory versions`: what an item was generated as over time, or the best and worst of a content type."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.json_format import MessageToDict
from rich.table import Table

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, messages, print_json
from factory_cli.failures import CommandError
from factory_cli.progress import figures
from factory_cli.settings import Settings, with_settings

_ORDERS = {
    None: pb.CONTENT_VERSION_ORDER_NEWEST_FIRST,
    True: pb.CONTENT_VERSION_ORDER_LOWEST_QUALITY_FIRST,
    False: pb.CONTENT_VERSION_ORDER_HIGHEST_QUALITY_FIRST,
}
_PAGE = 1000
_COLUMNS = ("item", "type", "template", "model", "quality", "cost", "created")
Score = Annotated[float | None, typer.Option(min=0, max=1, help="With --worst or --best.")]


@with_settings
def versions(
    settings: Settings,
    item_id: Annotated[str, typer.Argument(help="The item; all of them unless given.")] = "",
    *,
    content_type: Annotated[str, typer.Option(help="All versions of this content type.")] = "",
    worst: Annotated[
        bool | None,
        typer.Option("--worst/--best", help="By quality, with --content-type.", show_default="newest"),
    ] = None,
    min_quality: Score = None,
    max_quality: Score = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most versions to list.")] = 20,
    content: Annotated[bool, typer.Option("--content", help="With --json: the content too.")] = False,
    json: Json = False,
) -> int:
    """List content versions, the newest first. An item generated again has a further one; none changes."""
    question = pb.ListContentVersionsRequest(
        order=_ORDERS[worst],
        min_quality=min_quality,
        max_quality=max_quality,
        with_content=content and json,
    )
    _select(question, item_id, content_type)
    found = asyncio.run(_list(settings, question, limit))
    if json:
        for version in found:
            print_json(MessageToDict(version, preserving_proto_field_name=True))
    elif found:
        answers().print(_table(found))
    else:
        messages().print("there are no such versions")
    return exit_codes.OK


def _select(question: pb.ListContentVersionsRequest, item_id: str, content_type: str) -> None:
    if item_id and content_type:
        raise CommandError("give an item or a --content-type, not both")
    if item_id:
        question.item_id = item_id
    if content_type:
        question.content_type = content_type


async def _list(
    settings: Settings, question: pb.ListContentVersionsRequest, limit: int
) -> list[pb.ContentVersion]:
    found: list[pb.ContentVersion] = []
    async with connect(settings.endpoints, settings.credentials) as clients:
        while len(found) < limit:
            question.page_size = min(_PAGE, limit - len(found))
            page: pb.ListContentVersionsResponse = await call_once(
                clients.processor, lambda stub: stub.ListContentVersions, question
            )
            found.extend(page.versions)
            question.page_token = page.next_page_token
            if not question.page_token:
                break
    return found[:limit]


def _table(found: list[pb.ContentVersion]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column in ("item", "created"), overflow="ellipsis")
    for version in found:
        table.add_row(*_row(version))
    return table


def _row(version: pb.ContentVersion) -> tuple[str, ...]:
    piece = version.piece
    created = version.create_time.ToDatetime(tzinfo=UTC).astimezone()
    return (
        version.item_id,
        piece.content_type,
        f"{piece.template_id} {piece.template_version}" if piece.template_id else "-",
        piece.model,
        figures.quality(piece.quality if piece.HasField("quality") else None),
        _paid(piece),
        f"{created:%Y-%m-%d %H:%M}",
    )


def _paid(piece: pb.Piece) -> str:
    if piece.HasField("similarity"):
        return "similar"
    return "cached" if piece.cached else figures.money(piece.cost_micros)
