"""`factory cache purge`: remove cached content by label, prefix or template version, or all of it."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from contentfactory.cache.v1 import cache_pb2 as pb

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json
from factory_cli.console import messages, print_json
from factory_cli.failures import CommandError
from factory_cli.settings import Settings, with_settings

_TIMEOUT_S = 300.0
_MOST_VERSION = 2**31 - 1


@with_settings
def purge(
    settings: Settings,
    *,
    tag: Annotated[str, typer.Option(help="Entries with this label, as content_type:faq.")] = "",
    prefix: Annotated[str, typer.Option(help="Entries whose key begins so.")] = "",
    template_version: Annotated[str, typer.Option(help="Entries made from it, as faq@3.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Everything of your tenant.")] = False,
    leave_first: Annotated[
        bool,
        typer.Option(
            "--leave-first", help="Go on serving them, but let them leave first when memory is full."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> int:
    """Remove cached content for good. What is being generated now and was begun before is not kept either.

    For example: `factory cache purge --tag content_type:faq`, or
    `factory cache purge --template-version faq@2 --leave-first`.
    """
    request, what = _request(tag, prefix, template_version, everything=everything)
    if leave_first:
        request.mode = pb.PURGE_MODE_LEAVE_FIRST
    elif not yes:
        _confirm(what)
    purged = asyncio.run(_purge(settings, request))
    if json:
        mode = "leave_first" if leave_first else "delete"
        print_json({"purged_entries": purged, "mode": mode, "selector": what})
    else:
        entries = "1 entry" if purged == 1 else f"{purged:,} entries"
        done = "will leave first" if leave_first else "removed"
        messages().print(f"{what}: {entries} {done}", markup=False, soft_wrap=True)
    return exit_codes.OK


def _request(tag: str, prefix: str, version: str, *, everything: bool) -> tuple[pb.PurgeRequest, str]:
    """Return the request and what it purges, in words."""
    if sum(map(bool, (tag, prefix, version, everything))) != 1:
        raise CommandError("give one of --tag, --prefix, --template-version and --all")
    if tag:
        return pb.PurgeRequest(tag=tag), f"what is labelled {tag}"
    if prefix:
        return pb.PurgeRequest(key_prefix=prefix), f"keys that begin with {prefix}"
    if everything:
        return pb.PurgeRequest(all=True), "everything of your tenant"
    template_id, _, number = version.rpartition("@")
    if not template_id or not number.isdecimal() or not 1 <= int(number) <= _MOST_VERSION:
        raise CommandError(f"--template-version takes a template and its version, as faq@3, not {version!r}")
    named = pb.PurgeRequest.TemplateVersion(template_id=template_id, version=int(number))
    return pb.PurgeRequest(template_version=named), f"what was made from {version}"


def _confirm(what: str) -> None:
    # Not typer.confirm: it writes to stdout, which is for answers.
    question = f"remove {what} from the cache? it has to be generated and paid for again (y/N) "
    messages().print(question, end="", markup=False, soft_wrap=True)
    answer = sys.stdin.readline()
    if not answer:
        raise CommandError("nobody answered, nothing was removed; scripts say --yes")
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was removed")


async def _purge(settings: Settings, request: pb.PurgeRequest) -> int:
    async with connect(settings.endpoints, settings.credentials) as clients:
        answer: pb.PurgeResponse = await call_once(
            clients.cache, lambda stub: stub.Purge, request, timeout_s=_TIMEOUT_S
        )
    return answer.purged_entries
