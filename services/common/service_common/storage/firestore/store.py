"""Documents in a Firestore database: shared by any number of processes, none of which locks the others out.

Transactions are optimistic: read, decide, and commit once on the condition that nothing read has changed.
Server transactions would hold locks across the network for as long as a process stalls. What this process
wrote last is not even read: the same condition finds out whether it still holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

from google.api_core.exceptions import GoogleAPICallError

from service_common.clock import Clock
from service_common.errors import aborted, unavailable
from service_common.resilience.retry import full_jitter_s
from service_common.storage.documents import Decision, Document, Key, T, Write
from service_common.storage.feed import Feeds, driven
from service_common.storage.firestore import query as firestore_query
from service_common.storage.firestore.commit import Committer, Versions, conditional_keys, needs_reading
from service_common.storage.firestore.connection import Connection, connect
from service_common.storage.firestore.errors import as_service_error
from service_common.storage.firestore.layout import Layout
from service_common.storage.firestore.listening import Listener
from service_common.storage.firestore.locks import KeyLocks
from service_common.storage.firestore.metered import MeteredConnection
from service_common.storage.firestore.reads import documents
from service_common.storage.firestore.remembered import Remembered
from service_common.storage.indexing import IndexPlan
from service_common.storage.metering import Count
from service_common.storage.ordering import microseconds
from service_common.storage.shapes import Page, Query, Schema
from service_common.storage.staging import Prepared, Row, Staging, prepare
from service_common.storage.store import Feed

MAX_ATTEMPTS = 12
"""How often a transaction is decided before contention is reported."""

_BASE_S = 0.01
_CAP_S = 1.0
_UNSEEN = 2**63
"""Versions within one commit count from here, where no stored one is."""

_PING = Key("ping", "ping", "ping")


class FirestoreStore:
    """A `DocumentStore` over one Firestore database.

    Args:
        schema: What will be stored and asked.
        database: `projects/{project}/databases/{database}`.
        clock: Decides what is expired.
        connection: The wire; the store closes it.
        rng: Draws the waits between attempts.
        count: Is told what is billed.
    """

    __slots__ = (
        "_clock",
        "_committer",
        "_connection",
        "_feeds",
        "_idle",
        "_is_closed",
        "_layout",
        "_locks",
        "_plan",
        "_remembered",
        "_rng",
        "_running",
    )

    def __init__(
        self,
        schema: Schema,
        database: str,
        *,
        clock: Clock,
        connection: Connection,
        rng: Random,
        count: Count | None = None,
    ) -> None:
        self._plan = IndexPlan(schema)
        self._layout = Layout(schema, database)
        self._clock = clock
        if count is not None:
            connection = MeteredConnection(connection, schema, self._layout, count=count)
        self._connection = connection
        self._rng = rng
        self._committer = Committer(connection, self._layout, rng)
        self._locks = KeyLocks()
        self._remembered = Remembered()
        self._feeds = Feeds()
        self._is_closed = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def open(
        cls, project: str, database: str, *, schema: Schema, clock: Clock, count: Count | None = None
    ) -> FirestoreStore:
        """Open a database without waiting for it: what is away or missing shows on use.

        Raises:
            ServiceError: FAILED_PRECONDITION if no credentials are found.
        """
        connection = await connect()
        name = f"projects/{project}/databases/{database}"
        return cls(schema, name, clock=clock, connection=connection, rng=Random(), count=count)

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None if it is absent."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Return one entry per key, in order, all of one moment."""
        self._check(keys)
        async with self._operation():
            now = self._now()
            rows = await self._rows(keys)
            return [_document(key, rows[key], now) for key in keys]

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply the writes in order, all or none; most need no reading."""
        prepared = prepare(self._plan, writes)
        async with self._operation(), self._locks.hold(each.write.key for each in prepared):
            await self._run((), lambda _: (None, prepared))

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Read and decide, as often as it takes until nothing read has changed when the writes are stored."""
        self._check(keys)

        def propose(found: Sequence[Document | None]) -> tuple[T, list[Prepared]]:
            decision = decide(found)
            return decision.result, prepare(self._plan, decision.writes)

        async with self._operation(), self._locks.hold(keys):
            return await self._run(keys, propose)

    async def query(self, query: Query) -> Page:
        """Return a page of the documents that match."""
        async with self._operation():
            return await firestore_query.page(self._connection, self._layout, self._plan, query, self._now())

    @asynccontextmanager
    async def watch(self, key: Key) -> AsyncIterator[Feed]:
        """Yield a feed of the document, over a listen stream."""
        self._check((key,))
        self._check_open()
        with self._feeds.open(key) as feed:
            listener = Listener(
                feed,
                self._layout.database,
                self._layout.name(key),
                connection=self._connection,
                rng=self._rng,
            )
            async with driven(feed, listener.run()):
                yield feed

    async def sweep_expired(self, limit: int = 500) -> int:  # noqa: ARG002 - the port's
        """Remove nothing: the database's own policy on the ttl field does."""
        async with self._operation():
            return 0

    async def ping(self) -> None:
        """Return if the database answers a read."""
        async with self._operation():
            await documents(self._connection, self._layout, (_PING,))

    async def close(self) -> None:
        """Finish what was accepted, then release the channel."""
        self._is_closed = True
        self._feeds.close()
        await self._idle.wait()
        await self._connection.close()

    async def _run(
        self,
        keys: Sequence[Key],
        propose: Callable[[Sequence[Document | None]], tuple[T, list[Prepared]]],
    ) -> T:
        proposed = await self._from_memory(keys, propose)
        if proposed is not None:
            return proposed[0]
        wanted = set(keys)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            now = self._now()
            before = await self._rows(wanted)
            result, writes = propose([_document(key, before[key], now) for key in keys])
            missing = needs_reading(writes, self._layout) - wanted
            if missing:
                # Read again with these, so that all the decision rests on is of one moment.
                wanted |= missing
                continue
            if not writes or await self._store(before, writes, now):
                return result
            # What was refused unread is read next time: its condition may fail for good, and says how.
            wanted |= conditional_keys(writes)
            await asyncio.sleep(full_jitter_s(attempt, base_s=_BASE_S, cap_s=_CAP_S, rng=self._rng))
        raise aborted("DOCUMENT_CHANGED", "other writers kept changing what the transaction read")

    async def _from_memory(
        self,
        keys: Sequence[Key],
        propose: Callable[[Sequence[Document | None]], tuple[T, list[Prepared]]],
    ) -> tuple[T] | None:
        """Transact on what this process wrote last; None if that is nothing, or does not lead to a commit."""
        before: dict[Key, Row | None] = dict(self._remembered.of(keys))
        if not before:
            return None
        before |= await self._rows(key for key in keys if key not in before)
        now = self._now()
        try:
            result, writes = propose([_document(key, before[key], now) for key in keys])
        except Exception:  # noqa: BLE001 - only what is really stored may be a reason to refuse
            return None
        if not writes or needs_reading(writes, self._layout) - before.keys():
            return None
        return (result,) if await self._store(before, writes, now) else None

    async def _store(self, before: Mapping[Key, Row | None], writes: Sequence[Prepared], now: int) -> bool:
        """Commit what the writes do; False if something has changed meanwhile."""
        staging = Staging(self._plan, _UNSEEN, lambda _: {})
        staging.before.update(before)
        staging.commit([each for each in writes if each.write.key in before], now)
        batch = self._committer.batch()
        batch.stage(before, staging.changed)
        for each in writes:
            if each.write.key not in before:
                batch.add_unread(each)
        self._remembered.forget((*before, *batch.changed))
        versions = await self._committer.send(batch)
        if versions:
            self._remembered.keep(_stored(before, staging.changed, versions))
        return versions is not None

    async def _rows(self, keys: Iterable[Key]) -> dict[Key, Row | None]:
        """Return one entry per key."""
        wanted = list(dict.fromkeys(keys))
        found = await documents(self._connection, self._layout, wanted) if wanted else {}
        return {key: self._layout.row(found[key])[1] if key in found else None for key in wanted}

    def _check(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._plan.schema.check_key(key)

    def _check_open(self) -> None:
        if self._is_closed:
            raise unavailable("STORE_CLOSED", "the store is closed")

    @asynccontextmanager
    async def _operation(self) -> AsyncIterator[None]:
        """Refuse when closed, keep `close` waiting, and turn Firestore's errors into the port's."""
        self._check_open()
        self._running += 1
        self._idle.clear()
        try:
            yield
        except GoogleAPICallError as error:
            raise as_service_error(error, self._layout.database) from error
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def _now(self) -> int:
        return microseconds(self._clock.now())


def _stored(
    before: Mapping[Key, Row | None], changed: Mapping[Key, Row | None], versions: Versions
) -> dict[Key, Row | None]:
    """Return what a commit has left of what it had read."""
    after = {key: changed.get(key, row) for key, row in before.items()}
    return {
        key: replace(row, version=versions[key]) if row is not None and key in versions else row
        for key, row in after.items()
    }


def _document(key: Key, row: Row | None, now: int) -> Document | None:
    return None if row is None or row.is_expired(now) else row.document(key)
