"""The command line: which commands there are, and under which names."""

from __future__ import annotations

import typer

from factory_cli.commands.budget import budget
from factory_cli.commands.cache import cache
from factory_cli.commands.cancel import cancel
from factory_cli.commands.delete import delete
from factory_cli.commands.doctor import doctor
from factory_cli.commands.down import down
from factory_cli.commands.estimate import estimate
from factory_cli.commands.generate import generate
from factory_cli.commands.jobs import jobs
from factory_cli.commands.migrate import migrate
from factory_cli.commands.pause import pause
from factory_cli.commands.quality import quality
from factory_cli.commands.results import results
from factory_cli.commands.resume import resume
from factory_cli.commands.retry import retry
from factory_cli.commands.run import run
from factory_cli.commands.submit import submit_command
from factory_cli.commands.up import up
from factory_cli.commands.update import update
from factory_cli.commands.versions import versions
from factory_cli.commands.watch import watch
from factory_cli.exit_codes import MEANING

app = typer.Typer(
    name="factory",
    help="Turns topics and documents into content: an outline and seven pieces of each.",
    epilog=MEANING,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in (
    ("run", run),
    ("up", up),
    ("down", down),
    ("estimate", estimate),
    ("submit", submit_command),
    ("watch", watch),
    ("results", results),
    ("generate", generate),
    ("jobs", jobs),
    ("versions", versions),
    ("pause", pause),
    ("resume", resume),
    ("update", update),
    ("retry", retry),
    ("cancel", cancel),
    ("delete", delete),
    ("quality", quality),
    ("doctor", doctor),
    ("migrate", migrate),
):
    app.command(name, epilog=MEANING)(command)
for name, group in (("cache", cache), ("budget", budget)):
    app.add_typer(group, name=name)
