"""Documents in number, made from what a SCHEMA declares: plausible values for every field that a query names.

The n-th document of a collection is always the same one. Four tenants share each collection, the largest has
half of it. A field without a rule here gets one of 20 texts, a few of 50 if it is a list, or a time if its
name says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random

from service_common.storage import Key, QueryShape, Schema, Value
from service_common.storage.firestore.layout import native_fields

from benchmarks.support.factory import CONTENT_TYPES
from benchmarks.support.specimens import Fields, specimen, specimens

LARGEST, SMALLEST = "large", "small"
TENANTS = (LARGEST,) * 10 + ("second",) * 5 + ("third",) * 3 + (SMALLEST,) * 2
_BLOCK = 40
"""Consecutive documents of one tenant; groups of documents, such as a job's shards, divide it."""

_KEPT = timedelta(days=30)
_EXPIRED = 200
"""Of so many documents one has expired and is not swept yet."""

Make = Callable[[int, Random], Value]


def _group(name: str, size: int) -> Make:
    return lambda n, _: f"{name}-{n // size:07d}"


def _weighted(weights: Mapping[Value, int]) -> Make:
    values, counts = list(weights), list(weights.values())
    return lambda _, rng: rng.choices(values, counts)[0]


_RARELY = _weighted({True: 1, False: 499})
_STATES = (880, 60, 20, 20, 10, 5, 5)
_NAMES = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "RUNNING", "QUEUED", "DRAFT")
_NUMBERS = (4, 5, 6, 7, 3, 2, 1)

_RULES: Mapping[str, Make] = {
    "optimizer_templates.state": _weighted({"live": 979, "deleted": 20, "deleting": 1}),
    "processor_jobs.state": _weighted(dict(zip(_NAMES, _STATES, strict=True))),
    "processor_shards.job_id": _group("job", 20),
    "tracker_jobs.state": _weighted(dict(zip(_NUMBERS, _STATES, strict=True))),
    "claimable": _weighted({True: 4, False: 96}),
    "content_type": lambda _, rng: rng.choice(CONTENT_TYPES),
    "content_types": lambda _, rng: sorted(rng.sample(CONTENT_TYPES, rng.randint(1, 3))),
    "family": _group("family", 5),
    "first_sequence": lambda n, _: n % 40 * 50 + 1,
    "grades": lambda _, rng: [f"{rng.choice(CONTENT_TYPES)}/{rng.randrange(10)}"],
    "item_id": _group("item", 5),
    "item_ids": lambda n, _: [f"item-{n // 2 * 4 + place}" for place in range(4)],
    "job_id": _group("job", 40),
    "model": lambda _, rng: rng.choice(("small", "medium", "large")),
    "number": lambda n, _: n % 20,
    "parts": lambda n, _: [f"part-{n}"],
    "phase": _weighted({"SETTLED": 960, "WAITING": 30, "BEGUN": 8, "FINISHED": 2}),
    "priority": _weighted({2: 80, 1: 10, 3: 8, 4: 2}),
    "quality": lambda _, rng: round(rng.betavariate(8, 2), 4),
    "revision": lambda n, _: n + 1,
    "score": lambda _, rng: round(rng.betavariate(8, 2), 4),
    "template_id": lambda n, _: f"template-{n:07d}",
    "template_version": lambda n, _: n % 5 + 1,
    "unreported": _RARELY,
    "user": lambda _, rng: f"user-{rng.randrange(40)}",
    "version": lambda n, _: n % 5 + 1,
}
"""By field, or by collection and field."""

_IDS = {
    "optimizer_templates": "{template_id}",
    "optimizer_versions": "{family}.{version}",
    "processor_shards": "{job_id}.{number}",
}
"""How ids are made that say something; the others are hashes."""


@dataclass(frozen=True, slots=True)
class Population:
    """The documents of one collection.

    Attributes:
        schema: Where it is declared.
        collection: Its name.
        count: How many documents.
        now: Times are before it, expiries as a rule after it.
        specimen: What every document has beside the declared fields.
        makers: What makes the declared fields, by name.
    """

    schema: Schema
    collection: str
    count: int
    now: datetime
    specimen: Fields
    makers: Mapping[str, Make]

    @property
    def name(self) -> str:
        """The collection's name among those of all services."""
        return f"{self.schema.name}_{self.collection}"

    @property
    def shapes(self) -> list[QueryShape]:
        """What is asked of it."""
        return [each for each in self.schema.shapes if each.collection == self.collection]

    def document(self, n: int) -> tuple[Key, Fields]:
        """Return the n-th document."""
        rng = Random(f"{self.name}.{n}")
        fields = {name: make(n, rng) for name, make in self.makers.items()}
        tenant = TENANTS[n // _BLOCK % len(TENANTS)]
        hashed = sha256(f"{self.name}.{n}".encode()).hexdigest()[:32]
        name = _IDS.get(self.name, hashed).format_map(fields)
        return Key(self.collection, tenant, name), {**self.specimen, **fields}

    def documents(self) -> Iterator[tuple[Key, Fields]]:
        """Return all of them."""
        return map(self.document, range(self.count))


def asked_collections(schema: Schema) -> set[str]:
    """Return the collections with a query that needs an index."""
    return {shape.collection for shape in schema.shapes if needs_index(shape)}


def needs_index(shape: QueryShape) -> bool:
    """Tell whether a query wants more than all documents in the order of their names."""
    return bool(shape.equals or shape.order or shape.contains)


def populations(schema: Schema, *, each: int, now: datetime) -> list[Population]:
    """Return the documents of every collection with a query that needs an index.

    Args:
        schema: What a service declares.
        each: Documents of one collection.
        now: The time.
    """
    known = specimens(now)
    asked = asked_collections(schema)
    return [
        Population(
            schema,
            collection.name,
            each,
            now,
            specimen(known, f"{schema.name}_{collection.name}"),
            _makers(schema, collection.name, now, collection.ttl_field),
        )
        for collection in schema.collections
        if collection.name in asked
    ]


def _makers(schema: Schema, collection: str, now: datetime, ttl_field: str | None) -> dict[str, Make]:
    lists = {shape.contains for shape in schema.shapes if shape.collection == collection}
    makers: dict[str, Make] = {}
    for name in native_fields(schema, collection):
        if name == ttl_field:
            makers[name] = _expiry(now)
        else:
            makers[name] = (
                _RULES.get(f"{schema.name}_{collection}.{name}")
                or _RULES.get(name)
                or (_list(name) if name in lists else _single(name, now))
            )
    return makers


def _single(name: str, now: datetime) -> Make:
    if name.endswith(("_time", "_at")):
        return lambda _, rng: now - _KEPT * rng.random()
    return lambda _, rng: f"{name}-{rng.randrange(20)}"


def _expiry(now: datetime) -> Make:
    def make(n: int, rng: Random) -> Value:
        return now + _KEPT * (-rng.random() if n % _EXPIRED == 0 else 1 + rng.random())

    return make


def _list(name: str) -> Make:
    return lambda _, rng: [f"{name}-{each}" for each in sorted(rng.sample(range(50), rng.randint(1, 4)))]
