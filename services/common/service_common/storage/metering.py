"""What a store is asked for, counted: the operations that a hosted database bills, by collection.

Firestore is counted where it is billed, at its wire. The other backends are counted here as if they billed
the same: documents read (absent ones too, and one for an empty answer), written and deleted, and at most how
many index entries the writes make. Reads that Firestore's backend spares itself are counted all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import Enum

from service_common.storage.documents import Create, Decision, Delete, Document, Key, Set, T, Write
from service_common.storage.firestore.indexes import Entries, requirements
from service_common.storage.shapes import Page, Query, Schema
from service_common.storage.store import DocumentStore, Feed


class Operation(Enum):
    """What is billed."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    INDEX_ENTRY = "index_entry"


Count = Callable[[str, Operation, int], None]
"""Is told a collection, a kind of operation, and how many of it there were."""


class MeteredStore:
    """A `DocumentStore` that tells what passes through to another; operations that fail are not counted."""

    __slots__ = ("_count", "_entries", "_store")

    def __init__(self, store: DocumentStore, schema: Schema, *, count: Count) -> None:
        """Count the operations on a store.

        Args:
            store: Where they go.
            schema: What it was opened with.
            count: What is told.
        """
        needs = requirements(schema)
        self._store = store
        self._count = count
        self._entries = {each.name: needs.entries(each.name) for each in schema.collections}

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None if it is absent."""
        found = await self._store.get(key)
        self._count(key.collection, Operation.READ, 1)
        return found

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Return one entry per key, in order."""
        found = await self._store.get_many(keys)
        self._count_reads(keys)
        return found

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply the writes in order, all or none."""
        await self._store.commit(writes)
        self._count_writes(writes)

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Read, decide and write."""
        last: list[Decision[T]] = []

        def remembered(documents: Sequence[Document | None]) -> Decision[T]:
            last[:] = [decide(documents)]
            return last[0]

        result = await self._store.transact(keys, remembered)
        self._count_reads(keys)
        self._count_writes(last[0].writes)
        return result

    async def query(self, query: Query) -> Page:
        """Return a page of the documents that match."""
        page = await self._store.query(query)
        self._count(query.shape.collection, Operation.READ, max(1, len(page.documents)))
        return page

    @asynccontextmanager
    async def watch(self, key: Key) -> AsyncIterator[Feed]:
        """Yield a feed of the document; each signal taken counts as a read."""
        async with self._store.watch(key) as feed:
            yield _MeteredFeed(feed, lambda: self._count(key.collection, Operation.READ, 1))

    async def sweep_expired(self, limit: int = 500) -> int:
        """Remove some expired documents; where a policy does this, it costs the same deletes."""
        return await self._store.sweep_expired(limit)

    async def ping(self) -> None:
        """Return if the store can answer."""
        await self._store.ping()

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def _count_reads(self, keys: Iterable[Key]) -> None:
        for collection, reads in Counter(each.collection for each in set(keys)).items():
            self._count(collection, Operation.READ, reads)

    def _count_writes(self, writes: Sequence[Write]) -> None:
        counts: Counter[tuple[str, Operation]] = Counter()
        for write in writes:
            collection = write.key.collection
            if isinstance(write, Delete):
                counts[collection, Operation.DELETE] += 1
                continue
            counts[collection, Operation.WRITE] += 1
            counts[collection, Operation.INDEX_ENTRY] += _entries(self._entries[collection], write)
        for (collection, operation), count in counts.items():
            self._count(collection, operation, count)


class _MeteredFeed:
    """A feed that counts the signals taken from another."""

    __slots__ = ("_count", "_feed")

    def __init__(self, feed: Feed, count: Callable[[], None]) -> None:
        self._feed = feed
        self._count = count

    @property
    def is_live(self) -> bool:
        """Whether changes are signalled as they happen."""
        return self._feed.is_live

    async def changed(self) -> None:
        """Wait for a signal and take it."""
        await self._feed.changed()
        self._count()


def _entries(entries: Entries, write: Write) -> int:
    if not isinstance(write, Create | Set):
        return entries.fixed
    lists = ((write.data.get(field), count) for field, count in entries.per_element)
    return entries.fixed + sum(len(each) * count for each, count in lists if isinstance(each, Sequence))
