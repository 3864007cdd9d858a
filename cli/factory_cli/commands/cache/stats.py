"""`factory cache stats`: what the cache holds and saves, why entries left, what is wrong and what helps."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from contentfactory.cache.v1 import cache_pb2 as pb
from google.protobuf.json_format import MessageToDict
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import Clients, connect
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, print_json
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked

_MIB = 1024**2
_DOLLAR = 1_000_000
_MS = 1e-3
_SHOWN_OPERATIONS = 6
_SHOWN_TAGS = 5


@with_settings
def stats(
    settings: Settings,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    json: Json = False,
) -> int:
    """Show what the cache holds, hits and saves, what slows it down, and what would be better.

    For example: `factory cache stats`, `factory cache stats --watch`,
    `factory cache stats --json | jq .advice`.
    """
    return asyncio.run(_show(settings, interval if watch else 0.0, as_json=json))


async def _show(settings: Settings, interval_s: float, *, as_json: bool) -> int:
    async with connect(settings.endpoints, settings.credentials) as clients:
        if not interval_s:
            found = await _ask(clients)
            if as_json:
                print_json(_as_json(found))
            else:
                answers().print(view(found))
            return exit_codes.OK
        with interruption() as asked:
            try:
                await until_asked(_watch(clients, interval_s, as_json=as_json), asked)
            except Interrupted:
                return exit_codes.INTERRUPTED
    return exit_codes.OK


async def _watch(clients: Clients, interval_s: float, *, as_json: bool) -> None:
    """Show it again and again: a line of JSON each time, or one view that changes."""
    if as_json:
        while True:
            print_json(_as_json(await _ask(clients)))
            await asyncio.sleep(interval_s)
    with Live(view(await _ask(clients)), console=answers(), auto_refresh=False) as live:
        while True:
            await asyncio.sleep(interval_s)
            live.update(view(await _ask(clients)), refresh=True)


async def _ask(clients: Clients) -> pb.GetStatsResponse:
    answer: pb.GetStatsResponse = await call_once(
        clients.cache, lambda stub: stub.GetStats, pb.GetStatsRequest(explain=True)
    )
    return answer


def _as_json(found: pb.GetStatsResponse) -> dict[str, Any]:
    """Return the answer with the contract's own names, numbers as numbers."""
    plain = MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    numbers: dict[str, Any] = _with_numbers(plain)
    return numbers


def _with_numbers(value: Any) -> Any:
    # The JSON form of a message writes 64-bit numbers as text; scripts want numbers.
    if isinstance(value, dict):
        return {key: _with_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_numbers(each) for each in value]
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    return value


def view(found: pb.GetStatsResponse) -> Group:
    """Return the whole view."""
    parts: list[Any] = [_summary(found)]
    if found.profile.operations:
        parts += [Text(), _operations(found.profile)]
    if found.advice.limits:
        parts += [Text(), _limits(found)]
    if found.advice.policies:
        parts += [Text(), _policies(found.advice)]
    if found.advice.tags:
        parts += [Text(), _tags(found.advice)]
    parts += [Text(), *_lines(found)]
    return Group(*parts)


def _summary(found: pb.GetStatsResponse) -> Table:
    table = Table.grid(padding=(0, 2))
    filled = found.size_bytes / found.capacity_bytes if found.capacity_bytes else 0.0
    left = (
        f"{found.expirations:,} expired, {found.evictions:,} for want of room, "
        f"{found.quota_evictions:,} over quota, {found.purged:,} purged"
    )
    for name, value in (
        (
            "hits",
            f"{found.hit_ratio:.1%} of {found.hits + found.misses:,} lookups, {found.stale_hits:,} stale",
        ),
        ("saved", _dollars(found.saved_micros)),
        ("held", f"{found.entries:,} entries, {_size(found.size_bytes)}, {filled:.0%} of the limit"),
        ("limit", f"{_size(found.capacity_bytes)}, shared by all tenants"),
        ("left", left),
        ("being generated", f"{found.active_leases:,}"),
        ("since", f"{found.start_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
    ):
        table.add_row(Text(name, style="bold"), value)
    return table


def _operations(profile: pb.Profile) -> Table:
    table = _table("where time goes", ("calls", "total", "p50", "p90", "p99"))
    for each in profile.operations[:_SHOWN_OPERATIONS]:
        times = (_seconds(item) for item in (each.total, each.p50, each.p90, each.p99))
        table.add_row(each.name, f"{each.count:,}", *times)
    return table


def _limits(found: pb.GetStatsResponse) -> Table:
    table = _table("limit", ("hits", "a day"))
    for each in found.advice.limits:
        now = each.capacity_bytes == found.capacity_bytes
        name = f"{_size(each.capacity_bytes)}{' (now)' if now else ''}"
        table.add_row(name, f"{each.hit_ratio:.1%}", "" if now else _more(each.saved_micros_per_day))
    return table


def _policies(advice: pb.Advice) -> Table:
    table = _table("policy", ("hits", "a day"))
    for each in advice.policies:
        name = f"{each.policy}{' (now)' if each.active else ''}"
        gain = "" if each.active else _more(each.saved_micros_per_day)
        table.add_row(name, f"{each.hit_ratio:.1%}", gain)
    return table


def _tags(advice: pb.Advice) -> Table:
    table = _table("label", ("entries", "takes", "never used"))
    for each in advice.tags[:_SHOWN_TAGS]:
        unused = each.unused_bytes / each.size_bytes if each.size_bytes else 0.0
        table.add_row(Text(each.tag), f"{each.entries:,}", _size(each.size_bytes), f"{unused:.0%}")
    return table


def _lines(found: pb.GetStatsResponse) -> list[Text]:
    slow = [Text(f"! {each.text}", style="yellow") for each in found.profile.bottlenecks]
    advice = [Text(f"> {each.text}", style="green") for each in found.advice.recommendations]
    return [*slow, *advice] or [Text("nothing slows it down, and nothing better is known", style="dim")]


def _table(first: str, others: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _seconds(duration: Any) -> str:
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= _MS else f"{seconds * 1e6:.0f} µs"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f} MiB"


def _dollars(micros: int) -> str:
    return f"${micros / _DOLLAR:,.2f}"


def _more(micros: int) -> str:
    return f"{'-' if micros < 0 else '+'}{_dollars(abs(micros))}"
