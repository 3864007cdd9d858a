"""`factory cache warm`: bring stored content back into free memory before anybody asks for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Final

import typer
from contentfactory.cache.v1 import cache_pb2 as pb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import Clients, connect
from factory_cli.commands.job_options import Json
from factory_cli.console import messages, print_json
from factory_cli.failures import CommandError
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked

_POLL_S: Final = 0.1
_MIB: Final = 1024**2
_SIZE: Final = re.compile(r"(\d+)\s*([KMG]iB|)")
_UNITS: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Strategy(str, Enum):  # noqa: UP042 - typer shows the values of this form
    """What comes first."""

    VALUABLE = "valuable"
    RECENT = "recent"


_STRATEGIES: Final = {
    Strategy.VALUABLE: pb.WARMING_STRATEGY_MOST_VALUABLE,
    Strategy.RECENT: pb.WARMING_STRATEGY_MOST_RECENT,
}


@with_settings
def warm(
    settings: Settings,
    *,
    strategy: Annotated[
        Strategy, typer.Option(help="First what saved most (uses times cost), or what was used last.")
    ] = Strategy.VALUABLE,
    tag: Annotated[str, typer.Option(help="Only entries with this label, as content_type:faq.")] = "",
    max_bytes: Annotated[str, typer.Option(help="Most memory to fill, as 512MiB; 0: what is free.")] = "0",
    max_entries: Annotated[int, typer.Option(min=0, help="Most entries to bring; 0: all that fit.")] = 0,
    json: Json = False,
) -> int:
    """Bring stored content into free memory, the most promising first. Nothing leaves for it.

    For example: `factory cache warm`, `factory cache warm --strategy recent --max-bytes 512MiB`,
    `factory cache warm --tag content_type:faq`. Ctrl-C cancels it; what came until then stays.
    """
    request = pb.StartWarmingRequest(
        strategy=pb.WARMING_STRATEGY_TAG if tag and strategy is Strategy.VALUABLE else _STRATEGIES[strategy],
        tag=tag,
        max_bytes=_bytes(max_bytes),
        max_entries=max_entries,
    )
    ended = asyncio.run(_warm(settings, request, show=not json))
    if json:
        state = pb.WarmingState.Name(ended.state).removeprefix("WARMING_STATE_").lower()
        fields = ("candidate_entries", "done_entries", "warmed_entries", "warmed_bytes", "reason")
        print_json({"state": state, **{name: getattr(ended, name) for name in fields}})
    else:
        said = (
            f"{ended.warmed_entries:,} of {ended.candidate_entries:,} entries brought into memory, "
            f"{ended.warmed_bytes / _MIB:,.1f} MiB: {ended.reason}"
        )
        messages().print(said, markup=False, soft_wrap=True)
    return _exit_code(ended)


def _exit_code(ended: pb.Warming) -> int:
    if ended.state == pb.WARMING_STATE_CANCELLED:
        return exit_codes.INTERRUPTED
    return exit_codes.UNREACHABLE if ended.state == pb.WARMING_STATE_FAILED else exit_codes.OK


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise CommandError(f"--max-bytes takes bytes or a size as 512MiB, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


async def _warm(settings: Settings, request: pb.StartWarmingRequest, *, show: bool) -> pb.Warming:
    """Start a warming and wait until it ends; who interrupts cancels it."""
    async with connect(settings.endpoints, settings.credentials) as clients:
        with _progress(show=show) as progress, interruption() as asked:
            started: pb.StartWarmingResponse = await call_once(
                clients.cache, lambda stub: stub.StartWarming, request
            )
            warming = started.warming
            bar = progress.add_task("warming", total=warming.candidate_entries)

            def tell(now: pb.Warming) -> None:
                progress.update(
                    bar,
                    completed=now.done_entries,
                    total=now.candidate_entries,
                    description=f"{now.warmed_bytes / _MIB:,.1f} MiB",
                )

            try:
                return await until_asked(_follow(clients, warming.warming_id, tell), asked)
            except Interrupted:
                cancelled: pb.CancelWarmingResponse = await call_once(
                    clients.cache,
                    lambda stub: stub.CancelWarming,
                    pb.CancelWarmingRequest(warming_id=warming.warming_id),
                )
                return cancelled.warming


async def _follow(clients: Clients, warming_id: str, tell: Callable[[pb.Warming], None]) -> pb.Warming:
    while True:
        answer: pb.GetWarmingResponse = await call_once(
            clients.cache, lambda stub: stub.GetWarming, pb.GetWarmingRequest(warming_id=warming_id)
        )
        tell(answer.warming)
        if answer.warming.state != pb.WARMING_STATE_RUNNING:
            return answer.warming
        await asyncio.sleep(_POLL_S)


def _progress(*, show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=messages(), disable=not show, transient=True)
