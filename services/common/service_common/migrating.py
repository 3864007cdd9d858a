"""The `migrate` argument of every service: its own documents from one store to another.

Each line on stdout is a JSON object: `progress` while it runs, then one `plan` or `outcome`, or `failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from service_common.clock import SystemClock
from service_common.errors import ServiceError
from service_common.storage.migrating.migration import Migration, Outcome, Plan
from service_common.storage.migrating.progress import Progress
from service_common.storage.shapes import Schema

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_LINE_EVERY_S = 0.25


def migrate(schema: Schema, *, name: str, argv: Sequence[str]) -> int:
    """Run a migration.

    Args:
        schema: What the service stores.
        name: The service's name.
        argv: Arguments behind `migrate`.

    Returns:
        The exit code: 0 planned, or copied and equal; 1 failed or not equal; 2 wrong arguments.
    """
    arguments = _parser(name).parse_args(argv)
    try:
        return asyncio.run(_migrate(schema, arguments))
    except ServiceError as error:
        _say("failed", {"kind": error.kind.value, "reason": error.reason, "message": error.message})
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


async def _migrate(schema: Schema, arguments: argparse.Namespace) -> int:
    progress = Progress()
    migration = Migration(
        schema,
        source=arguments.source,
        target=arguments.target,
        clock=SystemClock(),
        rng=Random(),
        progress=progress,
    )
    showing = asyncio.create_task(_show(progress))
    try:
        if not arguments.copy:
            _say("plan", _plan(await migration.plan()))
            return 0
        outcome = await migration.run()
    finally:
        showing.cancel()
    _say("outcome", _outcome(outcome))
    return EXIT_FAILED if outcome.comparison.differing() else 0


async def _show(progress: Progress) -> None:
    while True:
        _say("progress", progress.shown())
        await asyncio.sleep(_LINE_EVERY_S)


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "course": plan.course.value,
        "copied": plan.record.documents,
        "collections": {name: each.shown() for name, each in plan.source.items()},
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    comparison = outcome.comparison
    return {
        "course": outcome.course.value,
        "differing": comparison.differing(),
        "collections": {
            name: {"source": each.shown(), "target": comparison.target[name].shown()}
            for name, each in comparison.source.items()
        },
    }


def _say(event: str, fields: Mapping[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Who asked for this is gone, perhaps killed: do not stand in the way of the next run.
        os._exit(EXIT_FAILED)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{name} migrate",
        description=f"Copies the documents of the {name} from one store to another and compares both.",
    )
    where = "sqlite:///PATH or firestore://PROJECT/DATABASE"
    parser.add_argument("--from", dest="source", required=True, metavar="URL", help=where)
    parser.add_argument("--to", dest="target", required=True, metavar="URL", help=where)
    parser.add_argument("--copy", action="store_true", help="copy; without it only count and look")
    return parser
