"""Entries as documents: what was written comes back bit for bit, or is recognised as damaged and left out.

An entry is one document; what exceeds a document's limit continues in a second one, written in the same
commit. Ids are hashes of keys, so any key can be stored and writes spread evenly. The store forgets expired
entries itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from service_common.storage.documents import MAX_COMMIT_BYTES, MAX_WRITES, Delete, Document, Key, Set, Write
from service_common.storage.shapes import Collection, Direction, Order, Query, QueryShape, Schema
from service_common.storage.store import DocumentStore

from content_cache.entry import Address, Entry

ENTRIES = "cache_entries"
PARTS = "cache_entry_parts"
NEWEST = QueryShape(
    "cache_newest_entries",
    collection=ENTRIES,
    order=(Order("create_time", Direction.DESCENDING),),
    all_tenants=True,
)
SCHEMA = Schema(
    collections=(
        Collection(ENTRIES, ttl_field="expire_time"),
        Collection(PARTS, ttl_field="expire_time"),
    ),
    shapes=(NEWEST,),
)

PART_BYTES = 896 * 1024
"""Content bytes in one document; the rest of its limit is for the fields beside them."""

PAGE_SIZE = 200

_COMMIT_BYTES = MAX_COMMIT_BYTES - 1024 * 1024


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose stored form must follow memory.

    Attributes:
        address: The key.
        entry: What is there now; None if nothing.
        stored_bytes: The largest encoded entry that may be stored under it.
    """

    address: Address
    entry: Entry | None
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class LoadedPage:
    """Some entries as they came back.

    Attributes:
        entries: The intact ones, newest first.
        damaged: How many were not.
        next_cursor: Where the next page starts; None when there is no more.
    """

    entries: tuple[Entry, ...]
    damaged: int
    next_cursor: str | None


class EntryRepository:
    """The durable tier over a `DocumentStore`; repeating a write is harmless."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def write(self, changes: Iterable[Change]) -> None:
        """Store or remove entries, all or none; at most what `fits_one_commit` allows.

        Raises:
            ServiceError: As `DocumentStore.commit`.
        """
        await self._store.commit([write for change in changes for write in _writes(change)])

    async def newest(self, cursor: str | None) -> LoadedPage:
        """Read a page of all tenants' entries, the most recently stored first.

        Raises:
            ServiceError: As `DocumentStore.query`.
        """
        page = await self._store.query(Query(NEWEST, limit=PAGE_SIZE, cursor=cursor))
        continued = [each for each in page.documents if each.data.get("continued")]
        parts = await self._store.get_many([_part_key(each.key) for each in continued]) if continued else []
        rest = {head.key: part for head, part in zip(continued, parts, strict=True)}
        entries = [_entry(each, rest.get(each.key)) for each in page.documents]
        intact = tuple(each for each in entries if each is not None)
        return LoadedPage(intact, len(entries) - len(intact), page.next_cursor)

    async def sweep_expired(self) -> int:
        """Remove some expired documents and return how many.

        Raises:
            ServiceError: As `DocumentStore.sweep_expired`.
        """
        return await self._store.sweep_expired()


def fits_one_commit(count: int, size: int) -> bool:
    """Tell whether so many changes with so many encoded bytes can be written at once."""
    return 2 * count <= MAX_WRITES and size <= _COMMIT_BYTES


def _head_key(address: Address) -> Key:
    return Key(ENTRIES, address.tenant, sha256(address.key.encode()).hexdigest())


def _part_key(head: Key) -> Key:
    return Key(PARTS, head.tenant, head.id)


def _writes(change: Change) -> list[Write]:
    head = _head_key(change.address)
    entry = change.entry
    writes: list[Write] = [Delete(head) if entry is None else Set(head, _head(entry))]
    if entry is not None and len(entry.encoded) > PART_BYTES:
        rest: dict[str, Any] = {"encoded": entry.encoded[PART_BYTES:], "expire_time": entry.expire_time}
        writes.append(Set(_part_key(head), rest))
    elif change.stored_bytes > PART_BYTES:
        writes.append(Delete(_part_key(head)))
    return writes


def _head(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.address.key,
        "encoded": entry.encoded[:PART_BYTES],
        "continued": len(entry.encoded) > PART_BYTES,
        "sha256": sha256(entry.encoded).digest(),
        "cost_micros": entry.cost_micros,
        "create_time": entry.create_time,
        "expire_time": entry.expire_time,
    }


def _entry(head: Document, part: Document | None) -> Entry | None:
    """Return the entry, None if it is not what was written."""
    encoded = _bytes(head.data) + (_bytes(part.data) if part else b"")
    key, cost = head.data.get("key"), head.data.get("cost_micros")
    created, expires = head.data.get("create_time"), head.data.get("expire_time")
    if sha256(encoded).digest() != head.data.get("sha256") or not isinstance(key, str):
        return None
    if not isinstance(created, datetime) or not isinstance(expires, datetime) or not isinstance(cost, int):
        return None
    address = Address(head.key.tenant, key)
    return Entry(address, encoded, cost, created, expires) if _head_key(address) == head.key else None


def _bytes(data: Mapping[str, Any]) -> bytes:
    encoded = data.get("encoded")
    return encoded if isinstance(encoded, bytes) else b""
