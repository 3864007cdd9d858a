"""Documents in this process's memory: for tests, and for trying things out. Gone when the process ends."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from service_common.clock import Clock
from service_common.errors import unavailable
from service_common.storage.documents import Decision, Document, Key, T, Write
from service_common.storage.feed import Feeds
from service_common.storage.indexing import IndexPlan
from service_common.storage.ordering import microseconds
from service_common.storage.shapes import Page, Query, Schema
from service_common.storage.staging import Row, Staging, prepare
from service_common.storage.store import Feed


class MemoryStore:
    """A `DocumentStore` whose every operation is one synchronous step, so none is ever contended."""

    __slots__ = ("_clock", "_counter", "_feeds", "_is_closed", "_keys", "_plan", "_rows", "_sorted")

    def __init__(self, schema: Schema, clock: Clock) -> None:
        self._plan = IndexPlan(schema)
        self._clock = clock
        self._counter = 0
        self._rows: dict[Key, Row] = {}
        self._sorted: list[bytes] = []
        self._keys: dict[bytes, Key] = {}
        self._feeds = Feeds()
        self._is_closed = False

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None if it is absent."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Return one entry per key, in order."""
        self._check_open()
        for key in keys:
            self._plan.schema.check_key(key)
        now = self._now()
        rows = [(key, self._rows.get(key)) for key in keys]
        return [row.document(key) if row and not row.is_expired(now) else None for key, row in rows]

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply the writes in order, all or none."""
        self._check_open()
        staging = self._staging()
        staging.commit(prepare(self._plan, writes), self._now())
        self._flush(staging)

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Read, decide and write in one step."""
        self._check_open()
        for key in keys:
            self._plan.schema.check_key(key)
        staging = self._staging()
        result = staging.transact(keys, decide, self._now())
        self._flush(staging)
        return result

    async def query(self, query: Query) -> Page:
        """Return a page of the documents that match."""
        self._check_open()
        scan = self._plan.scan(query)
        now = self._now()
        found: list[tuple[bytes, Document]] = []
        position = bisect_left(self._sorted, scan.start)
        while (
            position < len(self._sorted) and self._sorted[position] < scan.end and len(found) <= query.limit
        ):
            sort_key = self._sorted[position]
            key = self._keys[sort_key]
            if not self._rows[key].is_expired(now):
                found.append((sort_key, self._rows[key].document(key)))
            position += 1
        page = found[: query.limit]
        more = scan.cursor_after(page[-1][0]) if len(found) > query.limit else None
        return Page(tuple(document for _, document in page), more)

    @asynccontextmanager
    async def watch(self, key: Key) -> AsyncIterator[Feed]:
        """Yield a feed of the document, live from the start."""
        self._check_open()
        self._plan.schema.check_key(key)
        with self._feeds.open(key) as feed:
            feed.connected()
            yield feed

    async def sweep_expired(self, limit: int = 500) -> int:
        """Remove up to `limit` expired documents and return how many."""
        self._check_open()
        now = self._now()
        expired = [key for key, row in self._rows.items() if row.is_expired(now)]
        staging = self._staging()
        removed = staging.remove_expired(expired[:limit], now)
        self._flush(staging)
        return removed

    async def ping(self) -> None:
        """Return while open."""
        self._check_open()

    async def close(self) -> None:
        """Forget everything."""
        self._is_closed = True
        self._feeds.close()
        self._rows.clear()
        self._sorted.clear()
        self._keys.clear()

    def _staging(self) -> Staging:
        return Staging(self._plan, self._counter, self._load)

    def _load(self, keys: Iterable[Key]) -> dict[Key, Row]:
        return {key: self._rows[key] for key in keys if key in self._rows}

    def _flush(self, staging: Staging) -> None:
        self._counter = staging.counter
        for key, row in staging.changed.items():
            self._remove(key)
            if row is None:
                continue
            self._rows[key] = row
            for sort_key in row.content.index_keys:
                insort(self._sorted, sort_key)
                self._keys[sort_key] = key
        self._feeds.signal(staging.changed)

    def _remove(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        for sort_key in row.content.index_keys if row else ():
            del self._sorted[bisect_left(self._sorted, sort_key)]
            del self._keys[sort_key]

    def _now(self) -> int:
        return microseconds(self._clock.now())

    def _check_open(self) -> None:
        if self._is_closed:
            raise unavailable("STORE_CLOSED", "the store is closed")
