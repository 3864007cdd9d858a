"""What the queries read on the Firestore emulator, counted at the wire, beside what a scan reads there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any
from uuid import uuid4

from google.cloud.firestore_v1.types import firestore as rpc
from service_common.clock import ManualClock
from service_common.storage import Document, QueryShape, Schema
from service_common.storage.firestore.connection import Connection, connect
from service_common.storage.firestore.layout import Layout
from service_common.storage.firestore.metered import MeteredConnection
from service_common.storage.firestore.store import FirestoreStore
from service_common.storage.indexing import IndexPlan
from service_common.storage.metering import Operation
from service_common.storage.ordering import microseconds

from benchmarks.support.filling import fill, from_place
from benchmarks.support.population import Population, needs_index, populations
from benchmarks.support.questions import Question, questions
from benchmarks.support.report import Report
from tests.support.firestore_emulator import own_emulator

_SCAN_PAGE = 1_000
_TIMEOUT_S = 120.0
_RunQuery: Any = rpc.RunQueryRequest.pb()


class Emulated:
    """One service's documents on the emulator.

    Args:
        connection: Leads to the emulator; the store closes it.
        schema: What the service declares.
        now: The time.
    """

    def __init__(self, connection: Connection, schema: Schema, now: datetime) -> None:
        database = f"projects/queries-{uuid4().hex[:12]}/databases/(default)"
        self._plan = IndexPlan(schema)
        self._layout = Layout(schema, database)
        self._wire = MeteredConnection(connection, schema, self._layout, count=self._counted)
        self._now = microseconds(now)
        self._read = 0
        self.store = FirestoreStore(
            schema, database, clock=ManualClock(now), connection=self._wire, rng=Random(1)
        )

    async def ours(self, question: Question) -> tuple[list[Document], int]:
        """Return a page, and how many documents were read for it."""
        before = self._read
        page = await self.store.query(question.query)
        return list(page.documents), self._read - before

    async def scan(self, collection: str, tenant: str | None) -> tuple[list[Document], int]:
        """Return the documents of a tenant, or of all, and how many were read for it."""
        request = self._everything(collection, tenant)
        before = self._read
        found: list[Document] = []
        while True:
            answers = await self._wire.run_query(request)
            names = [each.document.name for each in answers if each.HasField("document")]
            rows = [self._layout.row(each.document) for each in answers if each.HasField("document")]
            found.extend(row.document(key) for key, row in rows if not row.is_expired(self._now))
            if len(names) < _SCAN_PAGE:
                return found, self._read - before
            request.structured_query.ClearField("start_at")
            request.structured_query.start_at.values.add().reference_value = names[-1]

    def matching(self, documents: Sequence[Document], question: Question) -> list[Document]:
        """Return the documents that answer a question, in its order, whatever its place."""
        scan = self._plan.scan(replace(question.query, cursor=None))
        placed = [
            (sort_key, each)
            for each in documents
            for sort_key in self._plan.index_keys(each.key, each.data)
            if scan.start <= sort_key < scan.end
        ]
        return [each for _, each in sorted(placed, key=lambda each: each[0])]

    def _counted(self, _collection: str, operation: Operation, count: int) -> None:
        if operation is Operation.READ:
            self._read += count

    def _everything(self, collection: str, tenant: str | None) -> Any:
        request = _RunQuery()
        request.parent = self._layout.root if tenant is None else self._layout.parent(tenant)
        source = request.structured_query.from_.add()
        source.collection_id = self._layout.collection_id(collection)
        source.all_descendants = tenant is None
        request.structured_query.order_by.add().field.field_path = "__name__"
        request.structured_query.limit.value = _SCAN_PAGE
        return request


async def on_emulator(report: Report, declared: Sequence[Schema], each: int, now: datetime) -> None:
    """Ask every declared query on an emulator of our own, and print what it reads.

    Args:
        report: Is told the figures.
        declared: All services' schemas.
        each: Documents of one collection.
        now: The time.
    """
    with own_emulator() as emulator:
        os.environ["FIRESTORE_EMULATOR_HOST"] = emulator.host
        for schema in declared:
            emulated = Emulated(await connect(timeout_s=_TIMEOUT_S), schema, now)
            for population in populations(schema, each=each, now=now):
                await fill(emulated.store, population)
                await _collection(report, emulated, population)
            await emulated.store.close()


async def _collection(report: Report, emulated: Emulated, population: Population) -> None:
    for all_tenants in (False, True):
        shapes = [each for each in population.shapes if each.all_tenants is all_tenants and needs_index(each)]
        if not shapes:
            continue
        tenant = questions(population, shapes[0])[0].query.tenant
        documents, read = await emulated.scan(population.collection, tenant)
        for shape in shapes:
            await _shape(report, emulated, questions(population, shape)[0], documents=documents, scanned=read)


async def _shape(
    report: Report, emulated: Emulated, question: Question, *, documents: Sequence[Document], scanned: int
) -> None:
    shape: QueryShape = question.query.shape
    name = f"firestore_{question.population.schema.name}_{shape.name}"
    limit = question.query.limit
    matching = emulated.matching(documents, question)
    places = {"first": 0, "middle": len(matching) // 2} if len(matching) > limit else {"first": 0}
    for place, start in places.items():
        found, read = await emulated.ours(await from_place(emulated.store, question, start))
        if not _same(found, matching[start : start + limit]):
            raise RuntimeError(f"{name}_{place}: not the documents that a scan finds: {question.query}")
        report.figure(f"{name}_{place}_reads", read, "documents")
        report.remark(f"{name}_{place}: {len(found)} returned, {scanned} read by a scan of the collection")


def _same(found: Sequence[Document], expected: Sequence[Document]) -> bool:
    return [(each.key, each.data) for each in found] == [(each.key, each.data) for each in expected]
