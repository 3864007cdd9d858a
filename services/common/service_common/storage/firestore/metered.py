"""The wire to Firestore, counted: exactly what is billed, whatever the store makes of a caller's wish.

A read is a document returned, told of or found absent, and one for a query without an answer. A write or
delete is one that was applied, also the empty ones by which a transaction verifies what it only read. Commits
that were refused are not billed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from service_common.storage.firestore.connection import Connection
from service_common.storage.firestore.indexes import Entries, requirements
from service_common.storage.firestore.layout import Layout
from service_common.storage.metering import Count, Operation
from service_common.storage.shapes import Schema


class MeteredConnection:
    """A `Connection` that tells what passes through to another."""

    __slots__ = ("_count", "_entries", "_inner", "_layout")

    def __init__(self, inner: Connection, schema: Schema, layout: Layout, *, count: Count) -> None:
        """Count what is asked of a database.

        Args:
            inner: The wire.
            schema: Whose documents pass.
            layout: How they are named.
            count: What is told.
        """
        needs = requirements(schema)
        self._inner = inner
        self._layout = layout
        self._count = count
        self._entries = {each.name: needs.entries(each.name) for each in schema.collections}

    async def commit(self, request: Any) -> Any:
        """Apply a commit."""
        answer = await self._inner.commit(request)
        counts: Counter[tuple[str, Operation]] = Counter()
        for write in request.writes:
            name = write.update.name or write.delete
            collection = self._layout.key(name).collection
            if write.delete:
                counts[collection, Operation.DELETE] += 1
                continue
            counts[collection, Operation.WRITE] += 1
            if write.update.fields:
                counts[collection, Operation.INDEX_ENTRY] += _entries(self._entries[collection], write.update)
        self._tell(counts)
        return answer

    async def batch_get(self, request: Any) -> list[Any]:
        """Return all answers."""
        answers = await self._inner.batch_get(request)
        counts: Counter[tuple[str, Operation]] = Counter()
        for each in answers:
            name = each.found.name if each.HasField("found") else each.missing
            if name:
                counts[self._layout.key(name).collection, Operation.READ] += 1
        self._tell(counts)
        return answers

    async def run_query(self, request: Any) -> list[Any]:
        """Return all answers."""
        answers = await self._inner.run_query(request)
        collection = self._layout.collection(request.structured_query.from_[0].collection_id)
        found = sum(each.HasField("document") for each in answers)
        self._count(collection, Operation.READ, max(1, found))
        return answers

    async def listen(self, request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers."""
        async with aclosing(self._inner.listen(request)) as answers:
            async for each in answers:
                if each.HasField("document_change"):
                    collection = self._layout.key(each.document_change.document.name).collection
                    self._count(collection, Operation.READ, 1)
                yield each

    async def close(self) -> None:
        """Release the channel."""
        await self._inner.close()

    def _tell(self, counts: Counter[tuple[str, Operation]]) -> None:
        for (collection, operation), count in counts.items():
            self._count(collection, operation, count)


def _entries(entries: Entries, document: Any) -> int:
    lists = ((document.fields[each], count) for each, count in entries.per_element if each in document.fields)
    return entries.fixed + sum(len(each.array_value.values) * count for each, count in lists)
