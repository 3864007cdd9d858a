"""A hundred thousand documents from SQLite to the Firestore emulator by `factory migrate`, killed twice.

The first `kill -9` takes the command, whose workers have to notice; the second takes the workers too. At the
end every document is read back from the target and compared with what was stored: the command's own counts
and checksums are not all there is. Run it from the repository's root: `python -m benchmarks.migrate`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
from service_common.clock import SystemClock
from service_common.storage import Key, open_store
from service_common.storage.migrating.record import RECORD_KEY, Record
from service_common.storage.opening import open_scan

from benchmarks.support.report import Report
from tests.support.firestore_emulator import own_emulator
from tests.support.stored_documents import SCHEMAS, documents, keep, living

EACH = 25_700
"""Documents of each service, of which a few have expired."""

LEAST = 100_000
KILL_AT = (0.25, 0.6)
_POLL_S = 0.3
_KEYS_AT_ONCE = 500


@dataclass(slots=True)
class Pace:
    """How copying went, from the first progress of each run that was seen to its last.

    Attributes:
        documents: How many were copied meanwhile.
        seconds: How long that took.
    """

    documents: int = 0
    seconds: float = 0.0
    _latest: tuple[float, int] | None = None

    def see(self, before: int, after: int) -> None:
        """Take note of the documents copied at two moments, the second of them now."""
        if after == before:
            return
        now = time.monotonic()
        if self._latest is not None:
            self.documents += after - self._latest[1]
            self.seconds += now - self._latest[0]
        self._latest = (now, after)

    def end_run(self) -> None:
        """Leave out what comes before the next run's first progress."""
        self._latest = None


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    report = Report()
    report.machine()
    with own_emulator() as emulator, TemporaryDirectory() as directory:
        os.environ["FIRESTORE_EMULATOR_HOST"] = emulator.host
        asyncio.run(_run(report, Path(directory)))
    return int(report.short)


async def _run(report: Report, folder: Path) -> None:
    for schema in SCHEMAS.values():
        await keep(documents(schema, EACH), schema, folder)
    target = f"firestore://bench-{uuid4().hex[:12]}/(default)"
    command = _command(folder, target)
    pace = Pace()
    began = time.monotonic()
    for number, share in enumerate(KILL_AT):
        least = round(share * EACH * len(SCHEMAS))
        done = await _interrupted(command, target, least=least, pace=pace, workers=bool(number))
        report.remark(f"killed behind {done:,} documents, {time.monotonic() - began:.0f} s after the start")
    said = await _finished(command, target, pace)
    took = time.monotonic() - began
    _judge(report, said, pace=pace, took=took)
    report.figure("migrate_read_back_wrong", await _wrong(target), "documents", at_most=0)


def _command(folder: Path, target: str) -> Sequence[str]:
    source = f"sqlite:///{folder}"
    options = ("migrate", "--from", source, "--to", target, "--yes", "--json")
    return (sys.executable, "-m", "factory_cli", *options)


async def _interrupted(command: Sequence[str], target: str, *, least: int, pace: Pace, workers: bool) -> int:
    """Kill the command once enough is surely copied; returns how much is."""
    process = await create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        while await _watched(target, pace) < least:
            assert process.returncode is None, "it ended before it was killed"
        children = psutil.Process(process.pid).children(recursive=True)
        for each in children if workers else []:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    finally:
        process.kill()
        await process.wait()
    psutil.wait_procs(children, timeout=60)
    pace.end_run()
    return await _copied(target)


async def _finished(command: Sequence[str], target: str, pace: Pace) -> Any:
    """Let the command end; returns what it says."""
    process = await create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL)
    answer = asyncio.create_task(process.communicate())
    while not answer.done():
        await _watched(target, pace)
    out, _ = await answer
    assert process.returncode in {0, 2}, process.returncode
    return json.loads(out)


async def _watched(target: str, pace: Pace) -> int:
    """Wait a little; count what was copied meanwhile."""
    before = await _copied(target)
    await asyncio.sleep(_POLL_S)
    after = await _copied(target)
    pace.see(before, after)
    return after


async def _copied(target: str) -> int:
    """Return how many documents the target says are surely there."""
    found = 0
    for schema in SCHEMAS.values():
        scan = await open_scan(target, schema=schema)
        record = Record.read(await scan.find((RECORD_KEY,)))
        found += 0 if record is None else record.documents
        await scan.close()
    return found


def _judge(report: Report, said: Any, *, pace: Pace, took: float) -> None:
    sides = [each for service in said["services"].values() for each in service["collections"].values()]
    copied = sum(each["target"]["documents"] for each in sides)
    counts = [each for each in sides if each["source"]["documents"] != each["target"]["documents"]]
    checksums = [each for each in sides if each["source"]["checksum"] != each["target"]["checksum"]]
    resumed = sum(each["course"] == "resume" for each in said["services"].values())
    report.figure("migrate_documents", copied, "documents", at_least=LEAST)
    report.figure("migrate_interruptions", len(KILL_AT), "kills", at_least=2)
    report.figure("migrate_resumed", resumed, "services", at_least=1)
    report.figure("migrate_counts_unequal", len(counts), f"of {len(sides)} collections", at_most=0)
    report.figure("migrate_checksums_unequal", len(checksums), f"of {len(sides)} collections", at_most=0)
    report.figure("migrate_copying", pace.documents / pace.seconds, "documents/s")
    report.figure("migrate_all_three_runs", took, "s")


async def _wrong(target: str) -> int:
    """Return how many documents the target has not exactly as they were stored."""
    wrong = 0
    for schema in SCHEMAS.values():
        there = living(documents(schema, EACH))
        store = await open_store(target, schema=schema, clock=SystemClock())
        keys: list[Key] = list(there)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            found = await store.get_many(part)
            for key, each in zip(part, found, strict=True):
                data = there[key]
                wrong += each is None or _timeless(each.data) != _timeless(data)
        await store.close()
    return wrong


def _timeless(data: Any) -> dict[str, Any]:
    """Return the fields without the expiry, which is counted from when they were made."""
    return {name: value for name, value in data.items() if name != "expire_time"}


if __name__ == "__main__":
    sys.exit(main())
