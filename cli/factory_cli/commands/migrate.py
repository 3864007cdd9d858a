"""`factory migrate`: everything the services have stored, from one store to another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from factory_cli import exit_codes
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, messages, print_json
from factory_cli.failures import CommandError
from factory_cli.migration import report
from factory_cli.migration.places import chosen, store_urls
from factory_cli.migration.view import MigrationView
from factory_cli.migration.worker import Answer, run_worker
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked

_FIRESTORE = "firestore://"


@with_settings
def migrate(
    settings: Settings,
    *,
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="firestore://PROJECT/DATABASE, or sqlite:///FOLDER.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="sqlite:///FOLDER with a file per service, as `factory up` keeps them, sqlite:///PATH with "
            "{service} in it, or firestore://PROJECT/DATABASE; the data folder unless given.",
        ),
    ] = None,
    services: Annotated[
        list[str] | None, typer.Option("--service", help="Only this service; may be repeated.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes/--dry-run", help="Copy, or only count and look, which writes nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """Copy all documents of the services to another store, and compare both by counts and checksums.

    Stop the services first: factory down. Without --yes nothing is written. What was interrupted goes on when
    the same is run again. A store that is away is waited for. Expired documents stay behind.
    """
    names = chosen(services or ())
    given = source or f"sqlite:///{settings.data_dir}"
    move = _Move(settings, given, target, names)
    return asyncio.run(_migrate(move, copy=yes, json=json))


class _Move:
    """From where to where, and for which services."""

    def __init__(self, settings: Settings, source: str, target: str, names: Sequence[str]) -> None:
        self.source = source
        self.target = target
        self._environ = settings.environ
        self._sources = store_urls(source, names, option="--from")
        self._targets = store_urls(target, names, option="--to")

    async def run(self, *, copy: bool) -> list[Answer]:
        """Let each service copy, or look.

        Raises:
            CommandError: If one cannot; it names every one that cannot.
        """
        with MigrationView(messages()) as view:
            found = await asyncio.gather(
                *(
                    run_worker(
                        name,
                        source=self._sources[name],
                        target=self._targets[name],
                        copy=copy,
                        environ=self._environ,
                        moved=view.show,
                    )
                    for name in self._sources
                )
            )
        _refuse_failures(found)
        return found

    def costs(self, plans: Sequence[Answer]) -> dict[str, int]:
        """Return what Firestore will bill."""
        return report.costs(
            plans,
            reads_from=self.source.startswith(_FIRESTORE),
            writes_to=self.target.startswith(_FIRESTORE),
        )


async def _migrate(move: _Move, *, copy: bool, json: bool) -> int:
    with interruption() as asked:
        try:
            return await until_asked(_plan_and_copy(move, copy=copy, json=json), asked)
        except Interrupted:
            messages().print("interrupted; the same again goes on from here", soft_wrap=True)
            return exit_codes.INTERRUPTED


async def _plan_and_copy(move: _Move, *, copy: bool, json: bool) -> int:
    plans = await move.run(copy=False)
    cost = move.costs(plans)
    if not json:
        answers().print(report.plan_table(plans))
        for each in (*report.courses(plans), *([report.cost_line(cost)] if any(cost.values()) else ())):
            messages().print(each, soft_wrap=True)
    outcomes = await move.run(copy=True) if copy else []
    if json:
        print_json(
            report.as_json(outcomes or plans, source=move.source, target=move.target, copied=copy, cost=cost)
        )
    if not copy:
        messages().print("nothing was copied; to copy, repeat it with --yes", soft_wrap=True)
        return exit_codes.OK
    if not json:
        answers().print(report.outcome_table(outcomes))
    for each in report.differences(outcomes):
        messages().print(each, soft_wrap=True)
    return exit_codes.ITEMS_FAILED if report.differences(outcomes) else exit_codes.OK


def _refuse_failures(found: Sequence[Answer]) -> None:
    failed = [each for each in found if each.event == "failed"]
    if failed:
        away = all(each.fields["kind"] == "UNAVAILABLE" for each in failed)
        lines = "\n".join(f"{each.service}: {each.message}" for each in failed)
        if any(each.fields["reason"] == "STORE_IN_USE" for each in failed):
            lines += "\nthe services must not run meanwhile; to stop them: factory down"
        code = exit_codes.UNREACHABLE if away else exit_codes.USAGE
        raise CommandError(f"not everything could be copied\n{lines}", code)
