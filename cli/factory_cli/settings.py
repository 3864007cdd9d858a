"""What every command takes: where things are, what calls carry, where local data lives. Flags win.

`with_settings` gives a command these options and turns its failures into one line and an exit code.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from service_common.errors import ServiceError
from service_common.rpc.channel import Credentials

from factory_cli import exit_codes
from factory_cli.auth import resolve_credentials
from factory_cli.endpoints import Endpoints, resolve
from factory_cli.failures import CommandError, from_service_error

_PANEL = "Connection"
_DEFAULT_DATA_DIR = Path(".factory")


class Finished(SystemExit):
    """A command has ended, with the exit code it means."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command works with.

    Attributes:
        endpoints: Where everything is.
        credentials: What calls carry.
        data_dir: Where local services keep data and logs.
        environ: The environment, with what flags said.
    """

    endpoints: Endpoints
    credentials: Credentials = field(repr=False)
    data_dir: Path
    environ: Mapping[str, str] = field(repr=False)


def with_settings(command: Callable[..., int]) -> Callable[..., None]:
    """Turn a function of `Settings` and its own options into what typer registers.

    The function returns its exit code; `CommandError` and `ServiceError` become a line on stderr.
    """
    own = [
        each
        for each in inspect.signature(command, eval_str=True).parameters.values()
        if each.name != "settings"
    ]
    shared = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(_settings, eval_str=True).parameters.values()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        connection = {each.name: given.pop(each.name) for each in shared}
        raise Finished(_exit_code(lambda: command(_settings(**connection), **given)))

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _exit_code(run: Callable[[], int]) -> int:
    try:
        return run()
    except CommandError as error:
        _complain(error)
        return error.exit_code
    except ServiceError as error:
        failure = from_service_error(error, service="the service")
        _complain(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _complain(error: CommandError) -> None:
    first, *rest = error.message.splitlines() or [""]
    print("\n".join([f"factory: {first}", *(f"  {line}" for line in rest)]), file=sys.stderr)  # noqa: T201 - the answer


def _settings(
    *,
    cache: Annotated[
        str | None, typer.Option(help="The cache's host:port. (FACTORY_CACHE)", rich_help_panel=_PANEL)
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="The optimizer's. (FACTORY_OPTIMIZER)", rich_help_panel=_PANEL)
    ] = None,
    processor: Annotated[
        str | None, typer.Option(help="The processor's. (FACTORY_PROCESSOR)", rich_help_panel=_PANEL)
    ] = None,
    tracker: Annotated[
        str | None, typer.Option(help="The tracker's. (FACTORY_TRACKER)", rich_help_panel=_PANEL)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Bearer token. (FACTORY_TOKEN, FACTORY_TOKEN_FILE)", rich_help_panel=_PANEL),
    ] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(help="PEM authority; calls use TLS. (FACTORY_TLS_CA_FILE)", rich_help_panel=_PANEL),
    ] = None,
    base_port: Annotated[
        int | None,
        typer.Option(
            help="Move all local ports: services +0 to +3, metrics +4 to +7, model +8 (FACTORY_BASE_PORT).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Data and logs of local services; .factory unless given (FACTORY_DATA_DIR).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> Settings:
    environ = dict(os.environ)
    targets = {"cache": cache, "optimizer": optimizer, "processor": processor, "tracker": tracker}
    endpoints = resolve(environ, targets=targets, base_port=base_port)
    said = {"FACTORY_TOKEN": token, "FACTORY_TLS_CA_FILE": str(tls_ca) if tls_ca else None}
    said |= {f"FACTORY_{name.upper()}": target for name, target in targets.items()}
    said["FACTORY_BASE_PORT"] = str(base_port) if base_port else None
    return Settings(
        endpoints=endpoints,
        credentials=resolve_credentials(environ, token=token, tls_ca=tls_ca),
        data_dir=data_dir or Path(environ.get("FACTORY_DATA_DIR") or _DEFAULT_DATA_DIR),
        environ={**environ, **{name: value for name, value in said.items() if value}},
    )
