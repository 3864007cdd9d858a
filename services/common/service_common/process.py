"""A service as a process: arguments, configuration, logs, the loop and the exit code, the same for all."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import structlog

from service_common.config import CommonSettings, ConfigError, load, variables
from service_common.errors import ServiceError
from service_common.lifecycle import Lifecycle, run_until_stopped
from service_common.migrating import migrate
from service_common.storage.shapes import Schema
from service_common.telemetry.logs import configure_logs
from service_common.telemetry.metrics import BUILD_INFO
from service_common.telemetry.tracing import configure_tracing

try:
    import uvloop
except ImportError:  # platforms without it run on the standard loop
    uvloop = None  # type: ignore[assignment]  # the module is optional

SettingsT = TypeVar("SettingsT", bound=CommonSettings)
EXIT_FAILED = 1
EXIT_CONFIG = 2
MIGRATE = "migrate"


def run_service(
    settings_class: type[SettingsT],
    serve: Callable[[SettingsT, Lifecycle], Awaitable[None]],
    *,
    name: str,
    distribution: str | None = None,
    schema: Schema | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a service until it is told to stop.

    Args:
        settings_class: What it reads from the environment.
        serve: Opens everything, pushing closers to the lifecycle, and returns when the service is ready.
        name: The service's name in logs, traces and metrics.
        distribution: The package whose version it has; `contentfactory-<name>` by default.
        schema: What it stores; with it, the first argument `migrate` copies that instead.
        argv: Arguments, without the program; the process's own by default.

    Returns:
        The exit code: 0 stopped as asked, 1 failed, 2 configuration.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if schema is not None and given[:1] == [MIGRATE]:
        return migrate(schema, name=name, argv=given[1:])
    release = _version(distribution or f"contentfactory-{name}")
    arguments = _parser(settings_class, name, release).parse_args(given)
    try:
        settings = load(settings_class)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal, before logs exist
        return EXIT_CONFIG
    if arguments.check_config:
        print("the configuration is usable")  # noqa: T201 - the answer asked for
        return 0
    configure_logs(name, settings.log_level)
    _settle_garbage_collection()
    BUILD_INFO.labels(name, release).set(1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        return runner.run(_run(settings, serve, name, release))


def _settle_garbage_collection() -> None:
    """Look for cycles seldom: a service makes many short-lived values, and its modules are there to stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _run(
    settings: SettingsT, serve: Callable[[SettingsT, Lifecycle], Awaitable[None]], name: str, release: str
) -> int:
    log = structlog.get_logger("service_common.process")

    async def start(lifecycle: Lifecycle) -> None:
        tracing = configure_tracing(
            name, release, endpoint=settings.otel_exporter_otlp_endpoint, ratio=settings.trace_sample_ratio
        )
        lifecycle.push("telemetry", lambda: asyncio.to_thread(tracing.close))
        if settings.exposed_unprotected:
            log.warning("insecure", host=settings.host, advice="anyone who reaches this address may call it")
        await serve(settings, lifecycle)

    try:
        return await run_until_stopped(start)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return EXIT_CONFIG
    except ServiceError as error:
        log.error("failed", reason=error.reason, error=error.message)  # noqa: TRY400 - the message says what to do
        return EXIT_FAILED
    except Exception:
        log.exception("failed")
        return EXIT_FAILED


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "0+unknown"


def _parser(settings_class: type[CommonSettings], name: str, release: str) -> argparse.ArgumentParser:
    rows = "\n".join(
        f"  {each.name}={each.default}\n      {each.description}" for each in variables(settings_class)
    )
    parser = argparse.ArgumentParser(
        prog=name,
        description=f"Runs the {name} service, configured by its environment. The argument "
        f"`{MIGRATE}` copies what it has stored: see `{MIGRATE} --help`.",
        epilog=f"environment variables and their defaults:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{name} {release}")
    parser.add_argument("--check-config", action="store_true", help="check the environment and exit: 0 or 2")
    return parser
