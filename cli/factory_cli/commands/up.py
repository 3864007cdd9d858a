"""`factory up`: start the four services and, without an endpoint of one's own, the embedded model."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from factory_cli import exit_codes
from factory_cli.console import messages
from factory_cli.settings import Settings, with_settings
from factory_cli.signals import Interrupted, interruption, until_asked
from factory_cli.supervision.background import start_detached
from factory_cli.supervision.board import StatusBoard
from factory_cli.supervision.fleet import Fleet
from factory_cli.supervision.supervisor import Change, Phase
from factory_cli.supervision.survey import make_plan


@with_settings
def up(
    settings: Settings,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; `factory down` stops it.")
    ] = False,
) -> int:
    """Start what is not running: four services and, unless PROCESSOR_MODEL_URL is set, the embedded model.

    Runs until Ctrl-C, then drains: the processor first, the model last. What dies is started again.
    Data and logs live in .factory/.

    Ports: FACTORY_CACHE_PORT, FACTORY_OPTIMIZER_PORT, FACTORY_PROCESSOR_PORT, FACTORY_TRACKER_PORT,
    FACTORY_MODEL_PORT and FACTORY_<SERVICE>_METRICS_PORT, or all at once with --base-port.
    """
    return asyncio.run(up_detached(settings) if detach else _foreground(settings))


async def _foreground(settings: Settings) -> int:
    with interruption() as asked, StatusBoard(messages()) as board:
        fleet = Fleet(
            settings.endpoints,
            data_dir=settings.data_dir,
            environ=settings.environ,
            on_change=board.show,
            credentials=settings.credentials.channel,
        )
        async with fleet:
            try:
                await until_asked(fleet.start(), asked)
            except Interrupted:
                return exit_codes.INTERRUPTED
            if not fleet.plan.to_start:
                board.say("everything runs already; nothing to start")
                return exit_codes.OK
            board.say(f"ready; logs in {settings.data_dir / 'logs'}; Ctrl-C drains and stops")
            await asked.wait()
            board.say("draining; once more leaves at once (then: factory down)")
    return exit_codes.OK


async def up_detached(settings: Settings) -> int:
    """Start what is not running in the background, and wait until it serves."""
    console = messages()
    plan = await make_plan(
        settings.endpoints,
        data_dir=settings.data_dir,
        environ=settings.environ,
        credentials=settings.credentials.channel,
    )
    with StatusBoard(console) as board:
        for name, address in plan.running.items():
            board.show(Change(name, Phase.EXTERNAL, address))
        if not plan.to_start:
            board.say("everything runs already; nothing to start")
            return exit_codes.OK
        for spec, _ in plan.to_start:
            board.show(Change(spec.name, Phase.STARTING))
        await start_detached(
            [probe for _, probe in plan.to_start], data_dir=settings.data_dir, environ=settings.environ
        )
        for spec, _ in plan.to_start:
            board.show(Change(spec.name, Phase.SERVING, f"port {spec.port}"))
        board.say(f"running in the background; logs in {settings.data_dir / 'logs'}; stop with: factory down")
    return exit_codes.OK
