"""What is asked of every declared shape: as its service asks, else a page of what some document holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from service_common.storage import Document, Query, QueryShape, Value

from benchmarks.support.population import LARGEST, Population

EACH = 3
"""Questions of one shape."""

_PAGE = 50
_SAMPLE = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """How a service asks.

    Attributes:
        limit: Documents of one page.
        equals: Values that are always the same.
        newest: The part of the documents, by the first ordered field, that lies above the lower bound; None
            for no bound.
    """

    limit: int = _PAGE
    equals: Mapping[str, Value] = field(default_factory=dict)
    newest: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its place in the answer.

    Attributes:
        population: Of which documents.
        query: The question, with the cursor of its place.
        after: The document before that place; None for the first page.
    """

    population: Population
    query: Query
    after: Document | None = None


_NEWEST = 0.001
ASKED: Mapping[str, Asked] = {
    "cache.newest_segments": Asked(16),
    "optimizer.templates_by_id": Asked(equals={"state": "live"}),
    "optimizer.templates_changed": Asked(200, newest=_NEWEST),
    "optimizer.templates_by_state": Asked(200, {"state": "deleting"}),
    "optimizer.records_by_time": Asked(2),
    "optimizer.records_of_version": Asked(2),
    "optimizer.records_of_content_type": Asked(2),
    "optimizer.records_of_grade": Asked(2),
    "optimizer.records_of_part": Asked(1),
    "processor.jobs_unreported": Asked(100, {"unreported": True}),
    "processor.shards_claimable": Asked(32, {"claimable": True}),
    "processor.shards_by_phase": Asked(100, {"phase": "FINISHED"}),
    "processor.shards_unreported": Asked(100, {"phase": "SETTLED", "unreported": True}),
    "processor.shards_of_job": Asked(200),
    "processor.versions_by_time": Asked(16),
    "processor.versions_of_item": Asked(16),
    "processor.versions_of_content_type": Asked(16),
    "processor.versions_of_grade": Asked(16),
    "tracker.jobs_written": Asked(100, newest=_NEWEST),
    "tracker.events_of_job": Asked(1),
}
"""By schema and shape; what is not here is asked for a page of the default size."""


def questions(population: Population, shape: QueryShape, tenant: str = LARGEST) -> list[Question]:
    """Return first pages of a shape, the same ones every time; of one tenant, if the shape is not of all."""
    rng = Random(f"{population.name}.{shape.name}")
    asked = ASKED.get(f"{population.schema.name}.{shape.name}", Asked())
    lower = None if asked.newest is None else _bound(population, shape.order[0].field, asked.newest, rng)
    found: list[Question] = []
    while len(found) < EACH:
        key, fields = population.document(rng.randrange(population.count))
        if key.tenant != tenant and not shape.all_tenants:
            continue
        query = Query(
            shape,
            {name: asked.equals.get(name, fields[name]) for name in shape.equals},
            None if shape.all_tenants else key.tenant,
            lower=lower,
            limit=asked.limit,
            contains=_element(fields, shape.contains),
        )
        found.append(Question(population, query))
    return found


def _bound(population: Population, name: str, newest: float, rng: Random) -> Value:
    sample: list[Any] = [
        population.document(rng.randrange(population.count))[1][name] for _ in range(_SAMPLE)
    ]
    bound: Value = sorted(sample)[-max(1, round(newest * _SAMPLE))]
    return bound


def _element(fields: Mapping[str, Any], name: str | None) -> Value:
    return None if name is None else fields[name][0]
