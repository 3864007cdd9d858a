"""Every declared query of every service, answered by SQLite's store as a scan in plain SQL answers it.

The scan is the one that `make bench-queries` compares with: what is measured there is the same answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from service_common.clock import ManualClock
from service_common.storage import Collection, Direction, Order, QueryShape, Schema
from service_common.storage.sqlite.store import SqliteStore

from benchmarks.support.filling import fill, from_place
from benchmarks.support.population import Population, needs_index, populations
from benchmarks.support.questions import ASKED, Question, questions
from benchmarks.support.unindexed import Form, Unindexed
from iac.generate import schemas

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DOCUMENTS = 800
MADE_UP = Schema(
    name="made_up",
    collections=(Collection("things", ttl_field="expire_time"),),
    shapes=(
        QueryShape("tagged", "things", ("kind",), (Order("score", Direction.DESCENDING),), contains="tags"),
        QueryShape("tied", "things", order=(Order("kind", Direction.DESCENDING),)),
        QueryShape(
            "mixed",
            "things",
            order=(Order("kind"), Order("quality", Direction.DESCENDING), Order("made_time")),
            all_tenants=True,
        ),
    ),
)
SCHEMAS = {each.name: each for each in (*schemas(), MADE_UP)}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_the_store_answers_as_a_scan_does(name: str, tmp_path: Path) -> None:
    """First pages and what follows the middle are the same documents in the same order."""
    schema = SCHEMAS[name]
    unindexed = Unindexed(tmp_path / "unindexed.db", NOW)
    store = await SqliteStore.open(tmp_path / "store.db", schema=schema, clock=ManualClock(NOW))
    for population in populations(schema, each=DOCUMENTS, now=NOW):
        await fill(store, population)
        unindexed.load(population)
        asked = [question for question in _questions(population) if unindexed.count(question)]
        assert asked
        for first in asked:
            for place in (0, unindexed.count(first) // 2):
                question = await from_place(store, first, place)
                page = await store.query(question.query)
                found = [(each.key, each.data) for each in page.documents]
                assert found, question.query
                for form in Form:
                    assert unindexed.page(question, form) == found, question.query
    unindexed.close()
    await store.close()


def _questions(population: Population) -> list[Question]:
    shapes = [each for each in population.shapes if needs_index(each)]
    return [question for shape in shapes for question in questions(population, shape)]


def test_a_document_is_the_same_each_time() -> None:
    """What is asked for was made from what is stored."""
    (population,) = populations(MADE_UP, each=DOCUMENTS, now=NOW)
    assert list(population.documents()) == [population.document(n) for n in range(DOCUMENTS)]
    assert len({key for key, _ in population.documents()}) == DOCUMENTS


def test_only_declared_queries_are_described() -> None:
    """What the benchmark knows of how a service asks is of a query that the service declares."""
    declared = {f"{schema.name}.{shape.name}" for schema in schemas() for shape in schema.shapes}
    assert set(ASKED) <= declared
