"""`factory down`: stop what `factory up` started, also what a crashed one left behind."""

from __future__ import annotations

from factory_cli import exit_codes
from factory_cli.console import messages
from factory_cli.settings import Settings, with_settings
from factory_cli.supervision.background import stop_all


@with_settings
def down(settings: Settings) -> int:
    """Drain and stop what `factory up` started here: the processor first, the model last."""
    stopped = stop_all(settings.data_dir)
    console = messages()
    if stopped:
        console.print(f"stopped: {', '.join(stopped)}")
    else:
        console.print(f"nothing runs under {settings.data_dir}")
    return exit_codes.OK
