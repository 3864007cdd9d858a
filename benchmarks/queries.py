"""What the declared queries save: each of them beside the same question without its index, in one run.

On SQLite in time: the project's own store beside the best scan there is, over the same 200,000 documents of
the collection that is asked (fewer where they are large), with equal answers. The processors' time counts:
nothing here waits for a disk, and on a busy machine the clock shows what others do. A tenant's question is
the largest tenant's, who has half of all documents; what the index saves one who has a tenth is shown too. On
the Firestore emulator, which ignores composite indexes, in documents read, counted at the wire. A query that
is declared later is asked by itself.

Run it from the repository's root: `python -m benchmarks.queries`.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import uvloop
from service_common.clock import ManualClock
from service_common.storage import Query, QueryShape, Schema
from service_common.storage.encoding import pack
from service_common.storage.sqlite.file import connect
from service_common.storage.sqlite.store import SqliteStore

from benchmarks.support.filling import fill, from_place
from benchmarks.support.firestore_reads import on_emulator
from benchmarks.support.population import SMALLEST, Population, asked_collections, needs_index, populations
from benchmarks.support.questions import Question, questions
from benchmarks.support.report import Report
from benchmarks.support.unindexed import Form, Found, Unindexed, said_plan
from iac.generate import schemas

DOCUMENTS = 200_000
MOST_BYTES = 512 * 1024 * 1024
"""Of one collection's documents on SQLite."""

ROUNDS = 15
LEAST_SAVED = 80.0
_SCANS = (Form.PLAIN, Form.LATE)

Ask = Callable[[Question], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a question takes: of the processors, all threads together, and on the clock."""

    cpu_ms: float
    clock_ms: float

    def __str__(self) -> str:
        return f"{self.cpu_ms:.2f} ms ({self.clock_ms:.2f} on the clock)"


@dataclass(frozen=True, slots=True)
class Contest:
    """Our store and the scan over the same documents, and where our store's file is."""

    store: SqliteStore
    unindexed: Unindexed
    path: Path

    async def ours(self, question: Question) -> Found:
        """Ask the store."""
        page = await self.store.query(question.query)
        return [(each.key, each.data) for each in page.documents]

    def scan(self, form: Form) -> Ask:
        """Return what asks the tables without an index."""

        async def ask(question: Question) -> Found:
            return self.unindexed.page(question, form)

        return ask


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--documents",
        type=int,
        default=DOCUMENTS,
        help="in each collection on SQLite, in all together on Firestore",
    )
    parser.add_argument("--only", choices=("sqlite", "firestore"), help="one of the two parts")
    given = parser.parse_args()
    report = Report()
    report.machine()
    uvloop.run(_run(report, given.documents, given.only))
    return int(report.short)


async def _run(report: Report, documents: int, only: str | None) -> None:
    now = datetime.now(UTC)
    declared = schemas()
    if only != "firestore":
        for schema in declared:
            for population in populations(schema, each=documents, now=now):
                await _on_sqlite(report, _bounded(population), now)
    if only != "sqlite":
        each = documents // sum(len(asked_collections(schema)) for schema in declared)
        await on_emulator(report, declared, each, now)


def _bounded(population: Population) -> Population:
    """Return as many of the documents as a disk should have to hold."""
    size = len(pack(population.document(0)[1]))
    return replace(population, count=min(population.count, MOST_BYTES // size))


async def _on_sqlite(report: Report, population: Population, now: datetime) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / f"{population.name}.db"
        contest = Contest(
            await SqliteStore.open(path, schema=population.schema, clock=ManualClock(now)),
            Unindexed(Path(directory) / "unindexed.db", now),
            path,
        )
        await fill(contest.store, population)
        contest.unindexed.load(population)
        for shape in population.shapes:
            await _shape(report, contest, population, shape)
        contest.unindexed.close()
        await contest.store.close()


async def _shape(report: Report, contest: Contest, population: Population, shape: QueryShape) -> None:
    name = f"queries_{population.schema.name}_{shape.name}"
    if not needs_index(shape):
        report.remark(f"{name}: all documents in the order of their names; there is no index to compare")
        return
    first = questions(population, shape)
    counts = [contest.unindexed.count(each) for each in first]
    report.remark(f"{name}: {round(sum(counts) / len(counts))} of {population.count} documents match")
    report.remark(f"{name}: index: {await _plan(contest.path, population.schema, first[0].query)}")
    report.remark(f"{name}: scan: {contest.unindexed.plan(first[0], Form.PLAIN)}")
    await _compare(report, contest, f"{name}_first", first)
    middle = [
        await from_place(contest.store, each, count // 2)
        for each, count in zip(first, counts, strict=True)
        if count > each.query.limit
    ]
    if middle:
        await _compare(report, contest, f"{name}_middle", middle)
    if not shape.all_tenants:
        few = questions(population, shape, SMALLEST)
        await _compare(report, contest, f"{name}_small_tenant", few, judged=False)


async def _compare(
    report: Report, contest: Contest, name: str, asked: Sequence[Question], *, judged: bool = True
) -> None:
    asks: dict[str, Ask] = {"ours": contest.ours, **{form.value: contest.scan(form) for form in Form}}
    for question in asked:
        answers = {who: await ask(question) for who, ask in asks.items()}
        if any(answer != answers["ours"] for answer in answers.values()):
            raise RuntimeError(f"{name}: not all answers are the same documents: {question.query}")
    taken = await _times(asks, asked)
    ours, copy = taken["ours"], taken[Form.COPY.value]
    form = min((each.value for each in _SCANS), key=lambda each: taken[each].cpu_ms)
    bar = LEAST_SAVED if judged else None
    report.figure(name, _saved(ours, taken[form]), "% time saved", at_least=bar)
    report.remark(
        f"{name}: {ours}; the {form} scan {taken[form]}; a copy of the fields scanned {copy}, of which the "
        f"index saves {_saved(ours, copy):.0f} %"
    )


async def _times(asks: dict[str, Ask], asked: Sequence[Question]) -> dict[str, Taken]:
    """Return what an average question takes, by who was asked; medians of runs in turns."""
    runs: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for number, question in enumerate(asked):
            for who, ask in asks.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                await ask(question)
                took = (time.process_time() - began_cpu, time.perf_counter() - began)
                runs.setdefault((who, number), []).append(took)
    return {who: _taken([runs[who, number] for number in range(len(asked))]) for who in asks}


def _taken(questions_runs: Sequence[Sequence[tuple[float, float]]]) -> Taken:
    cpu_s = fmean(median(cpu for cpu, _ in runs) for runs in questions_runs)
    clock_s = fmean(median(clock for _, clock in runs) for runs in questions_runs)
    return Taken(1_000 * cpu_s, 1_000 * clock_s)


def _saved(ours: Taken, scan: Taken) -> float:
    return 100 * (1 - ours.cpu_ms / scan.cpu_ms)


async def _plan(path: Path, schema: Schema, query: Query) -> str:
    """Return how SQLite says that it answers what the store really asks it."""
    statements: list[str] = []

    def traced(where: Path) -> sqlite3.Connection:
        connection = connect(where)
        connection.set_trace_callback(statements.append)
        return connection

    store = await SqliteStore.open(path, schema=schema, clock=ManualClock(), connect_to=traced)
    await store.query(query)
    await store.close()
    asked = next(each for each in reversed(statements) if each.startswith("SELECT") and "documents" in each)
    connection = connect(path)
    plan = said_plan(connection.execute(f"EXPLAIN QUERY PLAN {asked}").fetchall())
    connection.close()
    return plan


if __name__ == "__main__":
    sys.exit(main())
