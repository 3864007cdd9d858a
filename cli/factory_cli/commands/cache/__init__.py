"""`factory cache`: what an operator sees of cached content and does about it."""

from __future__ import annotations

import typer

from factory_cli.commands.cache.purge import purge
from factory_cli.commands.cache.simulate import simulate
from factory_cli.commands.cache.stats import stats
from factory_cli.commands.cache.warm import warm
from factory_cli.exit_codes import MEANING

cache = typer.Typer(help="Look after cached content.", no_args_is_help=True)
for name, command in (("stats", stats), ("warm", warm), ("purge", purge), ("simulate", simulate)):
    cache.command(name, epilog=MEANING)(command)
