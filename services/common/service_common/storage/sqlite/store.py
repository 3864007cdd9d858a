"""Documents in one SQLite file: several processes of a machine may share it, and no loop is ever blocked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from service_common.clock import Clock
from service_common.errors import unavailable
from service_common.storage.documents import Decision, Document, Key, T, Write
from service_common.storage.feed import DocumentFeed, Feeds, driven
from service_common.storage.indexing import IndexPlan
from service_common.storage.ordering import microseconds
from service_common.storage.shapes import Page, Query, Schema
from service_common.storage.sqlite import rows as sqlite_rows
from service_common.storage.sqlite.file import BUSY_ATTEMPTS, Connect, as_service_error, connect, prepare_file
from service_common.storage.sqlite.following import follow
from service_common.storage.sqlite.writer import SqliteWriter
from service_common.storage.staging import prepare
from service_common.storage.store import Feed

R = TypeVar("R")

_READERS = 3


class SqliteStore:
    """A `DocumentStore` over one file: one writer thread that commits in groups, a few threads that read.

    Construct with `open`.
    """

    def __init__(
        self, plan: IndexPlan, *, clock: Clock, writer: SqliteWriter, readers: _Readers, feeds: Feeds
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._writer = writer
        self._readers = readers
        self._feeds = feeds

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        schema: Schema,
        clock: Clock,
        connect_to: Connect = connect,
        busy_attempts: int = BUSY_ATTEMPTS,
    ) -> SqliteStore:
        """Open or create the file, and index it for the schema.

        Args:
            path: The file; missing folders are made.
            schema: What will be stored and asked.
            clock: Decides what is expired.
            connect_to: Opens connections.
            busy_attempts: How often a write tries a locked file.

        Raises:
            ServiceError: FAILED_PRECONDITION naming the file if it is not ours; UNAVAILABLE if it cannot be
                opened.
        """
        plan = IndexPlan(schema)
        await asyncio.to_thread(prepare_file, path, plan, connect_to)
        feeds = Feeds()
        writer = SqliteWriter(
            path,
            plan,
            clock=clock,
            connect_to=connect_to,
            on_commit=partial(_tell, feeds, asyncio.get_running_loop()),
            busy_attempts=busy_attempts,
        )
        return cls(plan, clock=clock, writer=writer, readers=_Readers(path, connect_to), feeds=feeds)

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None if it is absent."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Return one entry per key, in order, all of one moment."""
        wanted = self._checked(keys)
        now = self._now()
        return await self._readers.run(lambda connection: sqlite_rows.documents(connection, wanted, now))

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply the writes in order, all or none."""
        prepared = prepare(self._plan, writes)
        await self._writer.run(
            [each.write.key for each in prepared], lambda step: step.staging.commit(prepared, step.now)
        )

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Read, decide and write while holding the file's write lock."""
        wanted = self._checked(keys)
        result = await self._writer.run(wanted, lambda step: step.staging.transact(wanted, decide, step.now))
        return cast("T", result)

    async def query(self, query: Query) -> Page:
        """Return a page of the documents that match."""
        scan = self._plan.scan(query)
        now = self._now()

        def read(connection: sqlite3.Connection) -> Page:
            sqlite_rows.counter(connection, self._plan)
            return sqlite_rows.page(connection, scan, query.limit, now)

        return await self._readers.run(read)

    @asynccontextmanager
    async def watch(self, key: Key) -> AsyncIterator[Feed]:
        """Yield a feed of the document; writes of this process are signalled at once."""
        self._checked((key,))
        self._readers.check_open()

        async def read_version() -> int | None:
            return await self._readers.run(lambda connection: sqlite_rows.version(connection, key))

        with self._feeds.open(key) as written:
            feed = DocumentFeed()
            async with driven(feed, follow(feed, written, read_version)):
                yield feed

    async def sweep_expired(self, limit: int = 500) -> int:
        """Remove up to `limit` expired documents and return how many."""
        removed = await self._writer.run(
            (),
            lambda step: step.staging.remove_expired(
                sqlite_rows.expired_keys(step.connection, limit, step.now), step.now
            ),
        )
        return int(removed)

    async def ping(self) -> None:
        """Return if the file can be read."""
        await self._readers.run(lambda connection: sqlite_rows.counter(connection, self._plan))

    async def close(self) -> None:
        """Finish what was accepted, then release the file."""
        self._feeds.close()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.close)

    def _checked(self, keys: Sequence[Key]) -> list[Key]:
        for key in keys:
            self._plan.schema.check_key(key)
        return list(keys)

    def _now(self) -> int:
        return microseconds(self._clock.now())


def _tell(feeds: Feeds, loop: asyncio.AbstractEventLoop, written: Collection[Key]) -> None:
    """Tell feeds what was written; called in the writer's thread."""
    if concerned := feeds.concerned(written):
        try:
            loop.call_soon_threadsafe(feeds.signal, concerned)
        except RuntimeError:
            # The loop is closed: nobody is left to hear of it.
            return


class _Readers:
    """A few threads, and as many connections, for reading beside the writer."""

    def __init__(self, path: Path, connect_to: Connect) -> None:
        self._path = path
        self._connect_to = connect_to
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix=f"store-reader-{path.name}")
        self._is_closed = False

    async def run(self, read: Callable[[sqlite3.Connection], R]) -> R:
        """Return what `read` returns, all of it read at one moment."""
        self.check_open()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)

    def check_open(self) -> None:
        """Refuse when closed."""
        if self._is_closed:
            raise unavailable("STORE_CLOSED", "the store is closed")

    def close(self) -> None:
        """Finish what is being read and release the file; blocks meanwhile."""
        self._is_closed = True
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().close()

    def _read(self, read: Callable[[sqlite3.Connection], R]) -> R:
        try:
            connection = self._idle_or_new()
            try:
                connection.execute("BEGIN")
                result = read(connection)
                connection.execute("COMMIT")
            except BaseException:
                # What an interrupted read leaves behind is not worth knowing: start afresh next time.
                connection.close()
                raise
        except sqlite3.Error as error:
            raise as_service_error(error, self._path) from error
        self._idle.put(connection)
        return result

    def _idle_or_new(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._connect_to(self._path)
