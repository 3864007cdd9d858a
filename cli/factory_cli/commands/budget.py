"""`factory budget`: what all jobs and pieces of the tenant may cost together, and cost so far."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from contentfactory.processor.v1 import processor_pb2 as pb
from rich.table import Table

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json, micros
from factory_cli.console import answers, messages, print_json
from factory_cli.exit_codes import MEANING
from factory_cli.failures import CommandError
from factory_cli.progress import figures
from factory_cli.settings import Settings, with_settings

budget = typer.Typer(help="Show or set what the tenant may spend.", no_args_is_help=True, epilog=MEANING)


@with_settings
def show(settings: Settings, json: Json = False) -> int:
    """Show the tenant's budget: its cap, what is spent, uncertain and set aside, and since when it counts."""
    answer: pb.GetTenantBudgetResponse = _ask(
        settings, lambda stub: stub.GetTenantBudget, pb.GetTenantBudgetRequest()
    )
    _tell(answer.budget, json=json)
    return exit_codes.OK


@with_settings
def set_budget(
    settings: Settings,
    dollars: Annotated[
        float | None,
        typer.Argument(min=0, help="The most that may be spent, in US dollars.", show_default=False),
    ] = None,
    *,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Take the cap away; go on counting.")] = False,
    start_over: Annotated[
        bool, typer.Option("--start-over", help="What was spent so far no longer counts.")
    ] = False,
    json: Json = False,
) -> int:
    """Set the tenant's budget, over all its jobs and pieces. What is out already comes back and counts."""
    if (dollars is None) is not no_limit:
        raise CommandError("say how many dollars, or --no-limit")
    request = pb.SetTenantBudgetRequest(
        max_cost_micros=None if dollars is None else micros(dollars), start_over=start_over
    )
    answer: pb.SetTenantBudgetResponse = _ask(settings, lambda stub: stub.SetTenantBudget, request)
    _tell(answer.budget, json=json)
    return exit_codes.OK


for _name, _command in (("show", show), ("set", set_budget)):
    budget.command(_name, epilog=MEANING)(_command)


def _ask(settings: Settings, method: Any, request: Any) -> Any:
    async def ask() -> Any:
        async with connect(settings.endpoints, settings.credentials) as clients:
            return await call_once(clients.processor, method, request)

    return asyncio.run(ask())


def _tell(found: pb.TenantBudget, *, json: bool) -> None:
    if json:
        print_json(_as_json(found))
    elif not found.HasField("since"):
        messages().print("no budget was ever set, and nothing is counted; set one with: factory budget set")
    else:
        answers().print(_table(found))


def _table(found: pb.TenantBudget) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    capped = found.HasField("max_cost_micros")
    table.add_row("budget", figures.money(found.max_cost_micros) if capped else "no limit")
    table.add_row("spent", figures.money(found.spent_micros))
    table.add_row("may be spent, by calls of unknown fate", figures.money(found.uncertain_spend_micros))
    table.add_row("set aside for calls under way", figures.money(found.reserved_micros))
    if capped:
        table.add_row("left", figures.money(_left(found)))
    table.add_row("since", f"{found.since.ToDatetime():%Y-%m-%d %H:%M} UTC")
    return table


def _left(found: pb.TenantBudget) -> int:
    used = found.spent_micros + found.uncertain_spend_micros + found.reserved_micros
    return max(0, found.max_cost_micros - used)


def _as_json(found: pb.TenantBudget) -> dict[str, object]:
    return {
        "max_cost_micros": found.max_cost_micros if found.HasField("max_cost_micros") else None,
        "spent_micros": found.spent_micros,
        "uncertain_spend_micros": found.uncertain_spend_micros,
        "reserved_micros": found.reserved_micros,
        "since": found.since.ToJsonString() if found.HasField("since") else None,
    }
