"""`factory cache simulate`: what each eviction policy would have hit and saved on a trace of requests."""

from __future__ import annotations

import json as json_text
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from factory_cli import exit_codes
from factory_cli.commands.job_options import Json
from factory_cli.console import answers, messages, print_json
from factory_cli.failures import CommandError
from factory_cli.settings import Settings, with_settings

_MODULE = "content_cache.simulation"
_MIB = 1024**2


@with_settings
def simulate(
    settings: Settings,
    *,
    trace: Annotated[
        Path,
        typer.Argument(
            help="Lines of `time id size [cost in micros]`, or CSV with ContextTokens and GeneratedTokens; "
            "plain, .gz or .xz."
        ),
    ],
    policy: Annotated[str, typer.Option(help="Which policies, separated by commas.")] = "lru,sieve,gdsf",
    capacity: Annotated[
        str,
        typer.Option(help="How much memory: 1GiB, 5% of all different answers, bytes; separated by commas."),
    ] = "1%,5%,10%,20%",
    json: Json = False,
) -> int:
    """Replay a trace against the cache's eviction policies: hits, bytes hit, dollars saved per GiB.

    `clairvoyant` knows the future and evicts what is asked for last; `bound` is what nothing can exceed.
    For example: `factory cache simulate trace.xz --policy lru,gdsf --capacity 5%,1GiB`.
    """
    found = _ask(settings, (str(trace), "--policy", policy, "--capacity", capacity))
    if json:
        print_json(found)
        return exit_codes.OK
    messages().print(
        f"{found['requests']} requests for {_size(found['footprint_bytes'])} of different answers",
        soft_wrap=True,
    )
    answers().print(_table(found["capacities"]))
    return exit_codes.OK


def _ask(settings: Settings, arguments: Sequence[str]) -> dict[str, Any]:
    """Let the cache's own code answer: the command line imports no service.

    Raises:
        CommandError: If it is not installed, or refuses the question.
    """
    if find_spec("content_cache") is None:
        raise CommandError("the cache is not installed here\ninstall contentfactory-cli[services]")
    done = subprocess.run(  # noqa: S603 - our own interpreter, arguments as a list
        [sys.executable, "-m", _MODULE, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=dict(settings.environ),
    )
    if done.returncode:
        raise CommandError(done.stderr.strip() or f"the simulation ended with {done.returncode}")
    answer: dict[str, Any] = json_text.loads(done.stdout)
    return answer


def _table(capacities: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("capacity", justify="right")
    table.add_column("policy")
    for name in ("hits", "bytes hit", "saved", "saved per GiB"):
        table.add_column(name, justify="right")
    for each in capacities:
        for row in each["results"]:
            table.add_row(
                _size(each["capacity_bytes"]),
                row["policy"],
                f"{row['hit_ratio']:.1%}",
                f"{row['byte_hit_ratio']:.1%}",
                f"${row['saved_dollars']:.4f}",
                f"${row['saved_dollars_per_gib']:.2f}",
            )
        table.add_section()
    return table


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"
