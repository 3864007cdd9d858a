"""Documents into a store, whichever it is, and the way to the middle of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from service_common.storage import MAX_PAGE_SIZE, DocumentStore, Set

from benchmarks.support.population import Population
from benchmarks.support.questions import Question

_IN_FLIGHT = 4
_WRITES = 200
"""In one commit; a request of more than 4 MiB is too much for the emulator, though not for Firestore."""


async def fill(store: DocumentStore, population: Population) -> None:
    """Store a collection, several commits at a time."""
    batches = _batches(population)

    async def work() -> None:
        for writes in batches:
            await store.commit(writes)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(work())


async def from_place(store: DocumentStore, question: Question, place: int) -> Question:
    """Return the question that goes on behind so many documents of the answer."""
    query, after = question.query, question.after
    while place > 0:
        page = await store.query(replace(query, limit=min(place, MAX_PAGE_SIZE)))
        if page.next_cursor is None:
            raise RuntimeError(f"{query.shape.name}: the answer ends before the place that was counted")
        query = replace(query, cursor=page.next_cursor)
        place -= len(page.documents)
        after = page.documents[-1]
    return replace(question, query=query, after=after)


def _batches(population: Population) -> Iterator[list[Set]]:
    documents = population.documents()
    while batch := [Set(key, fields) for key, fields in islice(documents, _WRITES)]:
        yield batch
