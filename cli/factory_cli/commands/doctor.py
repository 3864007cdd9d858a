"""`factory doctor`: what may be wrong, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, print_json
from factory_cli.doctor.configuration import check_configuration, check_files
from factory_cli.doctor.endpoint import check_endpoint
from factory_cli.doctor.finding import Finding, Level, exit_code
from factory_cli.doctor.installation import check_installation
from factory_cli.doctor.services import check_breakers, check_services
from factory_cli.settings import Settings, with_settings

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "bold red"}


@with_settings
def doctor(settings: Settings, json: Json = False) -> int:
    """Check installation, configuration, files, services, breakers and the model endpoint, with advice.

    Exits with 0 when nothing is broken, else with 3. Asks the model endpoint for one token.
    """
    findings = asyncio.run(_examine(settings))
    if json:
        rows = [
            {"level": each.level.value, "subject": each.subject, "text": each.text, "advice": each.advice}
            for each in findings
        ]
        print_json({"healthy": not exit_code(findings), "findings": rows})
    else:
        answers().print(_table(findings))
    return exit_code(findings)


async def _examine(settings: Settings) -> list[Finding]:
    findings = list(check_installation(settings.environ))
    endpoints, data_dir, environ = settings.endpoints, settings.data_dir, settings.environ
    async with connect(endpoints, settings.credentials) as clients:
        configured, running, endpoint = await asyncio.gather(
            check_configuration(endpoints, data_dir=data_dir, environ=environ),
            check_services(settings),
            check_endpoint(endpoints, environ),
        )
        processor_serves = any(each.subject == "processor" and each.level is Level.OK for each in running)
        breakers = await check_breakers(clients) if processor_serves else []
    return [*findings, *configured, *check_files(endpoints, data_dir=data_dir), *running, *breakers, endpoint]


def _table(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in findings:
        text = Text(each.text)
        if each.advice:
            text.append(f"\n-> {each.advice}", style="bold")
        table.add_row(Text(each.level.value, style=_STYLES[each.level]), each.subject, text)
    return table
