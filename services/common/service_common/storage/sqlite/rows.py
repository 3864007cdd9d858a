"""The statements on the SQLite tables: rows by key, rows by range of sort keys, and a staging written out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgpack

from service_common.errors import failed_precondition
from service_common.storage.documents import Document, Key
from service_common.storage.encoding import unpack
from service_common.storage.indexing import Content, IndexPlan, Scan
from service_common.storage.shapes import Page
from service_common.storage.staging import Row, Staging

_KEYS_PER_SELECT = 500

_UPSERT = (
    "INSERT INTO documents (number, path, version, expires, index_keys, data) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (number) DO UPDATE SET version = excluded.version, expires = excluded.expires,"
    " index_keys = excluded.index_keys, data = excluded.data"
)
_LOAD = "SELECT path, number, version, expires, index_keys, data FROM documents WHERE path IN"
_SCAN = (
    # CROSS JOIN fixes the order of the join: walk the range, look each document up.
    "SELECT entries.sort_key, path, version, data FROM entries CROSS JOIN documents USING (number)"
    " WHERE sort_key >= ? AND sort_key < ? AND (expires IS NULL OR expires > ?) ORDER BY sort_key LIMIT ?"
)


def counter(connection: sqlite3.Connection, plan: IndexPlan) -> int:
    """Return the highest version given out.

    Raises:
        ServiceError: FAILED_PRECONDITION if the file was indexed for other declarations since it was opened.
    """
    highest, fingerprint = connection.execute("SELECT counter, fingerprint FROM meta").fetchone()
    if fingerprint != plan.fingerprint:
        raise failed_precondition(
            "STORE_REINDEXED",
            "another release has re-indexed the store for its declarations; restart this one",
        )
    return int(highest)


def load(connection: sqlite3.Connection, keys: Iterable[Key]) -> Mapping[Key, Row]:
    """Return the stored rows of those keys that have one, expired or not."""
    paths = {key.path(): key for key in keys}
    found: dict[Key, Row] = {}
    remaining = iter(paths)
    while chunk := list(islice(remaining, _KEYS_PER_SELECT)):
        places = ",".join("?" * len(chunk))
        statement = f"{_LOAD} ({places})"
        for path, number, version, expires, index_keys, data in connection.execute(
            statement, chunk
        ).fetchall():
            content = Content(data, tuple(msgpack.unpackb(index_keys)), expires)
            found[paths[path]] = Row(number, version, content)
    return found


def documents(connection: sqlite3.Connection, keys: Sequence[Key], now: int) -> list[Document | None]:
    """Return one entry per key, None where absent or expired."""
    rows = load(connection, keys)
    return [_live(key, rows.get(key), now) for key in keys]


def version(connection: sqlite3.Connection, key: Key) -> int | None:
    """Return the stored version of a document, expired or not; None if there is none."""
    row = connection.execute("SELECT version FROM documents WHERE path = ?", (key.path(),)).fetchone()
    return None if row is None else int(row[0])


def page(connection: sqlite3.Connection, scan: Scan, limit: int, now: int) -> Page:
    """Return the live documents of the range's start."""
    # One more than asked for tells whether there is a next page.
    rows = connection.execute(_SCAN, (scan.start, scan.end, now, limit + 1)).fetchall()
    found = tuple(
        Document(Key.from_path(path), unpack(data), str(version)) for _, path, version, data in rows[:limit]
    )
    more = scan.cursor_after(rows[limit - 1][0]) if len(rows) > limit else None
    return Page(found, more)


def expired_keys(connection: sqlite3.Connection, limit: int, now: int) -> list[Key]:
    """Return the keys of stored rows that are expired."""
    rows = connection.execute(
        "SELECT path FROM documents WHERE expires <= ? LIMIT ?", (now, limit)
    ).fetchall()
    return [Key.from_path(path) for (path,) in rows]


def flush(connection: sqlite3.Connection, staging: Staging) -> None:
    """Write what the staging changed; sort keys that stay the same are not touched."""
    gone_rows: list[tuple[int]] = []
    gone_entries: list[tuple[bytes]] = []
    new_rows: list[tuple[Any, ...]] = []
    new_entries: list[tuple[bytes, int]] = []
    for key, after in staging.changed.items():
        before = staging.before[key]
        old = _entries(before)
        new = _entries(after)
        gone_entries += [(sort_key,) for sort_key, _ in old - new]
        new_entries += new - old
        if before is not None and (after is None or after.number != before.number):
            gone_rows.append((before.number,))
        if after is not None:
            new_rows.append(_columns(key, after))
    connection.executemany("DELETE FROM entries WHERE sort_key = ?", gone_entries)
    connection.executemany("DELETE FROM documents WHERE number = ?", gone_rows)
    connection.executemany(_UPSERT, new_rows)
    connection.executemany("INSERT INTO entries VALUES (?, ?)", new_entries)
    connection.execute("UPDATE meta SET counter = ?", (staging.counter,))


def _entries(row: Row | None) -> set[tuple[bytes, int]]:
    return {(sort_key, row.number) for sort_key in row.content.index_keys} if row else set()


def _columns(key: Key, row: Row) -> tuple[Any, ...]:
    content = row.content
    return (
        row.number,
        key.path(),
        row.version,
        content.expires,
        msgpack.packb(content.index_keys),
        content.packed,
    )


def _live(key: Key, row: Row | None, now: int) -> Document | None:
    return None if row is None or row.is_expired(now) else row.document(key)
