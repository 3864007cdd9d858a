"""A service that copies its own documents, as a process: what it says, line by line, and how it ended."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from factory_cli.endpoints import SERVICES

_TAIL_LINES = 8
_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """How far a service is.

    Attributes:
        service: Which.
        phase: What it does: counting, tidying, copying or checking.
        documents: How many are done.
        total: Of how many; 0 while that is not known.
        waiting: Why nothing moves; empty while it does.
    """

    service: str
    phase: str
    documents: int
    total: int
    waiting: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How a service's process ended.

    Attributes:
        service: Which.
        event: `plan`, `outcome` or `failed`.
        fields: What came with it.
    """

    service: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What went wrong; empty if nothing did."""
        return str(self.fields.get("message", "")) if self.event == "failed" else ""


async def run_worker(
    service: str,
    *,
    source: str,
    target: str,
    copy: bool,
    environ: Mapping[str, str],
    moved: Callable[[Position], None],
) -> Answer:
    """Let a service copy, or only count and look; it ends with us.

    Args:
        service: Which.
        source: Its store's URL.
        target: Another's.
        copy: Whether to copy.
        environ: The environment it gets.
        moved: Is told how far it is.
    """
    arguments = ("migrate", "--from", source, "--to", target, *(("--copy",) if copy else ()))
    running = await _start(service, arguments, environ)
    try:
        assert running.stdout is not None
        assert running.stderr is not None
        answer, said, _ = await asyncio.gather(
            _follow(service, running.stdout, moved), running.stderr.read(), running.wait()
        )
    finally:
        if running.returncode is None:
            # As good as any other end: what was copied is known to the target.
            running.kill()
            await running.wait()
    return answer or _broken(service, running.returncode, said)


async def _start(service: str, arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.Process:
    module = next(each.module for each in SERVICES if each.name == service)
    return await subprocess.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environ),
        limit=_LINE_BYTES,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it
    )


async def _follow(
    service: str, lines: asyncio.StreamReader, moved: Callable[[Position], None]
) -> Answer | None:
    answer = None
    async for line in lines:
        fields: dict[str, Any] = json.loads(line)
        event = fields.pop("event")
        if event == "progress":
            waiting = fields["waiting"] or ""
            moved(Position(service, fields["phase"], fields["documents"], fields["total"], waiting))
        else:
            answer = Answer(service, event, fields)
    return answer


def _broken(service: str, code: int | None, said: bytes) -> Answer:
    tail = "\n".join(said.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
    text = f"ended with {code} before it was done\n{tail}".rstrip()
    return Answer(service, "failed", {"kind": "INTERNAL", "reason": "WORKER_ENDED", "message": text})
