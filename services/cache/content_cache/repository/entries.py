"""Entries in segments: what was written comes back bit for bit, or is recognised as damaged and left out.

A batch of changes becomes one document per tenant, or a few; a record larger than a document continues in a
part document of the same commit. Segments are never changed: newer records hold, removals are records too,
and what little is still needed of an old segment moves to a new one in the commit that deletes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.frozen import dataclass
from service_common.storage.documents import SAFE_COMMIT_BYTES, Delete, Document, Key, Write
from service_common.storage.shapes import Query
from service_common.storage.store import DocumentStore

from content_cache.entry import Address, Entry
from content_cache.holding.rules import PurgeRules
from content_cache.insight.diagnosis import STORE_COMMIT, STORE_READ
from content_cache.moments import micros, moment
from content_cache.repository.record import NEVER, Record, Stamp, encode, frame
from content_cache.repository.schema import NEWEST
from content_cache.repository.segment_documents import part_key, records_of, segment_key, sizes, writes_of
from content_cache.repository.segments import Directory, Framed, Segment, pack_segments

PAGE_SIZE = 16

CATCH_UP_MARGIN = timedelta(seconds=60)
"""How far behind another replica's clock and commits may be for its segments still to be noticed."""

_COMMIT_CHANGES = 400
_COMPACT_SEGMENTS = 8


def _nobody(_name: str) -> Callable[[float], None]:
    return lambda _seconds: None


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose stored form must follow memory.

    Attributes:
        address: The key.
        entry: What is there now; None if nothing.
        removed: Whether it replaced or removed an entry that was served, in contrast to one that expired.
    """

    address: Address
    entry: Entry | None
    removed: bool = True


@dataclass(frozen=True, slots=True)
class LoadedPage:
    """Some records as they came back.

    Attributes:
        records: The intact ones, as far as can be told the most recent first.
        damaged: How many were not.
        reached: The stamp's microseconds down to which every record has been read.
        next_cursor: Where the next page starts; None when there is no more.
    """

    records: tuple[Record, ...]
    damaged: int
    reached: int
    next_cursor: str | None


class EntryRepository:
    """The durable tier over a `DocumentStore`; repeating a write is harmless.

    Several replicas may share a store: each writes segments of its own, anyone compacts anyone's.

    Attributes:
        directory: Which segment holds what.
    """

    def __init__(
        self,
        store: DocumentStore,
        *,
        clock: Clock,
        writer: int,
        rules: PurgeRules | None = None,
        observe: Callable[[str], Callable[[float], None]] = _nobody,
    ) -> None:
        """Prepare; nothing is read.

        Args:
            store: Where segments are.
            clock: Stamps what is written.
            writer: A number below 2**63 that no other replica, and no earlier start of this one, has.
            rules: What has been purged, which compaction drops; None: nothing.
            observe: Returns what is told the seconds of the store's commits and reads.
        """
        self._committed, self._has_read = observe(STORE_COMMIT), observe(STORE_READ)
        self._rules = rules or PurgeRules()
        self.directory = Directory(writer)
        self._store = store
        self._clock = clock
        self._caught_up = clock.now()
        # What a batch the store did not take was encoded to; it is not done again when the batch is repeated.
        self._encoded: dict[Address, tuple[Entry | None, bytes]] = {}

    def is_served(self, entry: Entry) -> bool:
        """Tell whether an entry's time has not come, its stale window included."""
        return not entry.is_gone(self._clock.now())

    async def write(self, changes: Sequence[Change]) -> None:
        """Store or remove entries, all or none; at most what `fits_one_commit` allows.

        Raises:
            ServiceError: As `DocumentStore.commit`.
        """
        stamp = self.directory.next_stamp(micros(self._clock.now()))
        now = micros(self._clock.now())
        records = [
            self._framed(each, stamp)
            for each in changes
            if each.entry is not None or each.removed or not self.directory.is_expired(each.address, now)
        ]
        began = self._clock.monotonic()
        try:
            await self._commit(records, stamp, ())
        finally:
            self._committed(self._clock.monotonic() - began)
        for each in changes:
            self._encoded.pop(each.address, None)

    async def newest(self, cursor: str | None, *, since: int | None = None) -> LoadedPage:
        """Read a page of all tenants' segments, the most recently written first, and note what is where.

        Args:
            cursor: `next_cursor` of the page before.
            since: Only segments written from this microsecond on.

        Raises:
            ServiceError: As `DocumentStore.query`.
        """
        lower = None if since is None else moment(since)
        page = await self._store.query(Query(NEWEST, lower=lower, limit=PAGE_SIZE, cursor=cursor))
        records: list[Record] = []
        damaged = reached = 0
        parts = await self._parts(page.documents)
        for each in page.documents:
            found, lost = records_of(each, parts.get(each.key.id))
            records += [framed.record for framed in reversed(found)]
            damaged += lost
            reached = micros(each.data["create_time"])  # type: ignore[arg-type] # the query's order is by it
            self._learn(each, found)
            await asyncio.sleep(0)
        return LoadedPage(tuple(records), damaged, reached, page.next_cursor)

    async def read(self, segments: Sequence[Key]) -> LoadedPage:
        """Read segments again; of each key only the newest record known is returned, if it is among them.

        Raises:
            ServiceError: As `DocumentStore.get_many`.
        """
        began = self._clock.monotonic()
        try:
            documents = await self._store.get_many(segments) if segments else []
        finally:
            self._has_read(self._clock.monotonic() - began)
        present = [each for each in documents if each is not None]
        parts = await self._parts(present)
        records: list[Record] = []
        damaged = 0
        for each in present:
            found, lost = records_of(each, parts.get(each.key.id))
            newest = (framed.record for framed in found if self.directory.holds(framed.record))
            records += newest
            damaged += lost
        return LoadedPage(tuple(records), damaged, reached=0, next_cursor=None)

    def read_all(self, since: int) -> None:
        """Take note that every segment written before a microsecond has been read."""
        self.directory.complete = True
        self._caught_up = moment(since)

    def overlap(self) -> int:
        """Return the microsecond from which segments may have been missed by a reader who began now."""
        return micros(self._clock.now() - CATCH_UP_MARGIN)

    async def compact(self) -> int:
        """Rewrite or delete a few segments of which less than half is needed; return how many.

        What other replicas wrote meanwhile is looked at first: a removal is dropped only when no segment has
        an older record of its key. Another replica that compacts the same ones wins or loses as a whole.

        Raises:
            ServiceError: As `DocumentStore.commit`.
        """
        sources = self.directory.wasteful(micros(self._clock.now()), _COMPACT_SEGMENTS)
        if not sources and self.directory.complete:
            return 0
        await self._catch_up()
        documents = await self._store.get_many([each.key for each in sources]) if sources else []
        parts = await self._parts([each for each in documents if each is not None])
        kept: list[Framed] = []
        removals: list[Delete] = []
        gone: list[Key] = []
        stamp = self.directory.next_stamp(micros(self._clock.now()))
        for source, document in zip(sources, documents, strict=True):
            if document is None:
                self.directory.forget(source.key)
                continue
            kept += self._needed(document, parts.get(source.key.id))
            gone.append(source.key)
            removals.append(Delete(source.key, if_version=document.version))
            removals += [Delete(part_key(source.key))] if source.continued else []
        return len(gone) if await self._replace(gone, kept, stamp=stamp, removals=removals) else 0

    async def sweep_expired(self) -> int:
        """Remove some expired documents and return how many.

        Raises:
            ServiceError: As `DocumentStore.sweep_expired`.
        """
        return await self._store.sweep_expired()

    async def _catch_up(self) -> None:
        started = self.overlap()
        since = micros(self._caught_up) if self.directory.complete else None
        cursor: str | None = None
        while True:
            page = await self.newest(cursor, since=since)
            cursor = page.next_cursor
            if cursor is None:
                break
        self.read_all(started)

    async def _replace(
        self, gone: Sequence[Key], kept: list[Framed], *, stamp: Stamp, removals: Sequence[Write]
    ) -> bool:
        try:
            await self._commit(kept, stamp, removals)
        except ServiceError as error:
            if error.kind is ErrorKind.ABORTED:
                return False
            raise
        for each in gone:
            self.directory.forget(each)
        return True

    async def _commit(self, records: list[Framed], stamp: Stamp, others: Sequence[Write]) -> None:
        writes: list[Write] = []
        learned: list[tuple[Segment, list[Record]]] = []
        for number, each in enumerate(pack_segments(records)):
            key = segment_key(each[0].record.address.tenant, stamp, number)
            covers = max(framed.record.covers for framed in each)
            made = writes_of(key, each, create=stamp.micros, covers=covers)
            writes += made
            segment = Segment(key, sizes(each), covers, continued=len(made) > 1)
            learned.append((segment, [framed.record for framed in each]))
        if writes or others:
            await self._store.commit([*writes, *others])
        for segment, held in learned:
            self.directory.learn(segment, held)

    def _framed(self, change: Change, stamp: Stamp) -> Framed:
        address, entry = change.address, change.entry
        known = self._encoded.get(address)
        if known is None or known[0] is not entry:
            known = self._encoded[address] = (entry, encode(address, entry))
        expires = 0 if entry is None else micros(entry.leave_time)
        covers = self.directory.covers(address, expires)
        return Framed(Record(address, stamp, covers, entry), frame(known[1], stamp, covers=covers))

    def _needed(self, document: Document, part: Document | None) -> list[Framed]:
        kept: list[Framed] = []
        now = micros(self._clock.now())
        for each in records_of(document, part)[0]:
            record = each.record
            purged = record.entry is not None and self._rules.deletes(record.entry)
            need = self.directory.needs(record.address, record.stamp, now=now, purged=purged)
            if need == "entry":
                kept.append(each)
            elif need:
                shadow = Record(record.address, record.stamp, record.covers, None)
                content = encode(record.address, None)
                kept.append(Framed(shadow, frame(content, record.stamp, covers=record.covers)))
        return kept

    def _learn(self, document: Document, found: Sequence[Framed]) -> None:
        if document.key in self.directory:
            return
        expire = document.data.get("expire_time")
        ends = NEVER if expire is None else micros(expire)  # type: ignore[arg-type] # a TTL field is a time
        continued = bool(document.data.get("continued"))
        segment = Segment(document.key, sizes(found), ends, continued=continued)
        self.directory.learn(segment, [each.record for each in found])

    async def _parts(self, documents: Iterable[Document]) -> dict[str, Document]:
        keys = [part_key(each.key) for each in documents if each.data.get("continued")]
        parts = await self._store.get_many(keys) if keys else []
        return {each.key.id: each for each in parts if each is not None}


def fits_one_commit(count: int, size: int) -> bool:
    """Tell whether so many changes with so many encoded bytes can be written at once."""
    return count <= _COMMIT_CHANGES and size <= SAFE_COMMIT_BYTES
