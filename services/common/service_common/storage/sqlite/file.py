"""The SQLite file itself: connecting, creating, recognising, re-indexing, and what its errors mean.

Two tables: `documents`, and `entries`, which holds one sort key per document and shape it matches. `meta`
holds the version counter and the fingerprint of the declarations the entries were made for. WAL with
synchronous=NORMAL: what was committed outlives the process; a power cut may lose the last moments, never
consistency.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgpack

from service_common.errors import ErrorKind, ServiceError, failed_precondition, not_found, unavailable
from service_common.storage.documents import Key
from service_common.storage.encoding import unpack
from service_common.storage.indexing import IndexPlan

R = TypeVar("R")
Connect = Callable[[Path], sqlite3.Connection]

BUSY_ATTEMPTS = 250
"""How often a busy file is tried, about 30 ms each, before the operation is UNAVAILABLE."""

ALONE_ATTEMPTS = 100
"""How often a file that must be nobody else's is tried: a process that was killed may still be going."""

_APPLICATION_ID = 0x43464453
_FORMAT = 1
_BUSY_TIMEOUT_MS = 20
_LONGEST_PAUSE_S = 0.02
_REINDEX_CHUNK = 200
_HEADER = b"SQLite format 3\0"
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_TABLES = (
    """CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1), counter INTEGER NOT NULL, fingerprint TEXT NOT NULL)""",
    "INSERT INTO meta VALUES (1, 0, '')",
    # data comes last: reading the columns before it never walks a large document's overflow pages.
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, version INTEGER NOT NULL,
        expires INTEGER, index_keys BLOB NOT NULL, data BLOB NOT NULL)""",
    "CREATE INDEX documents_expires ON documents (expires) WHERE expires IS NOT NULL",
    "CREATE TABLE entries (sort_key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection in autocommit mode; its user sees to it that one thread at a time uses it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def connect_for_writing(path: Path, connect_to: Connect) -> sqlite3.Connection:
    """Open a connection that soon gives up waiting for a lock; `when_free` tries again, with jitter."""
    connection = connect_to(path)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    return connection


def prepare_file(path: Path, plan: IndexPlan, connect_to: Connect) -> None:
    """Create the file if needed, refuse a foreign one, and index it for the plan.

    Safe with other processes doing the same.

    Raises:
        ServiceError: FAILED_PRECONDITION naming the file if it is not ours; UNAVAILABLE if it cannot be
            opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_header(path)
        connection = connect_for_writing(path, connect_to)
    except OSError as error:
        raise unavailable("STORE_UNAVAILABLE", f"cannot open {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise unavailable("STORE_UNAVAILABLE", f"cannot open {path}: {error}") from error
    try:
        _prepare(connection, plan, path)
    except sqlite3.Error as error:
        raise as_service_error(error, path) from error
    finally:
        connection.close()


def open_alone(path: Path, attempts: int = ALONE_ATTEMPTS) -> sqlite3.Connection:
    """Open an existing file so that nobody else can open it while this connection is; it is not changed.

    Raises:
        ServiceError: NOT_FOUND if there is no such file; FAILED_PRECONDITION naming it if it is not ours or
            another process has it open; UNAVAILABLE if it cannot be opened.
    """
    if not path.exists():
        raise not_found("STORE_MISSING", f"there is no file {path}")
    try:
        _check_header(path)
        connection = _connect_alone(path)
    except OSError as error:
        raise unavailable("STORE_UNAVAILABLE", f"cannot open {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise unavailable("STORE_UNAVAILABLE", f"cannot open {path}: {error}") from error
    try:
        _lock_out_others(connection, path, attempts)
    except sqlite3.Error as error:
        connection.close()
        raise as_service_error(error, path) from error
    except ServiceError:
        connection.close()
        raise
    return connection


def _connect_alone(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
    )
    # It counts only if it comes before the first look into the file, which even other pragmas take.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _lock_out_others(connection: sqlite3.Connection, path: Path, attempts: int) -> None:
    try:
        # Every open connection to a file in WAL mode holds a shared lock on it, also when it is idle.
        ((tables,),) = when_free(
            lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall(), attempts
        )
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        raise failed_precondition(
            "STORE_IN_USE", f"{path} is open in another process; stop it first"
        ) from error
    _check_ours(connection, path)
    if not tables:
        raise not_found("STORE_MISSING", f"{path} is empty")


def _prepare(connection: sqlite3.Connection, plan: IndexPlan, path: Path) -> None:
    _check_ours(connection, path)
    when_free(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    when_free(lambda: connection.execute("BEGIN IMMEDIATE"))
    _create_tables(connection)
    _reindex(connection, plan, path)
    connection.execute("COMMIT")


def when_free(action: Callable[[], R], attempts: int = BUSY_ATTEMPTS) -> R:
    """Run the action, again after a random pause while another process holds the file.

    Raises:
        sqlite3.OperationalError: The last one, if the file stays busy.
    """
    for _ in range(attempts - 1):
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        time.sleep(random.uniform(0, _LONGEST_PAUSE_S))
    return action()


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process held the file."""
    return _primary_code(error) in _BUSY_CODES


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether the disk was full."""
    return _primary_code(error) == sqlite3.SQLITE_FULL


def as_service_error(error: sqlite3.Error, path: Path) -> ServiceError:
    """Translate what SQLite says while the store is in use."""
    if is_busy(error):
        return unavailable("STORE_BUSY", f"{path.name} is busy: other processes kept it locked")
    if is_full(error):
        return unavailable("STORE_FULL", f"{path.name} cannot grow: the disk is full")
    if _primary_code(error) in _DAMAGED_CODES:
        return ServiceError(ErrorKind.DATA_LOSS, "STORE_DAMAGED", f"{path.name} is damaged: {error}")
    return unavailable("STORE_UNAVAILABLE", f"{path.name} cannot be used: {error}")


def _primary_code(error: sqlite3.Error) -> int:
    # Errors of the module itself, such as a closed connection, carry no code.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _check_header(path: Path) -> None:
    # SQLite itself takes a file shorter than a page for an empty database, and would overwrite it.
    if not path.exists():
        return
    with path.open("rb") as file:
        header = file.read(len(_HEADER))
    if header and header != _HEADER:
        raise failed_precondition(
            "STORE_FILE_FOREIGN", f"{path} is not a SQLite database; move it away or name another"
        )


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    ((application_id,),) = when_free(lambda: connection.execute("PRAGMA application_id").fetchall())
    ((tables,),) = when_free(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall())
    ((file_format,),) = when_free(lambda: connection.execute("PRAGMA user_version").fetchall())
    if tables and application_id != _APPLICATION_ID:
        raise failed_precondition("STORE_FILE_FOREIGN", f"{path} is a SQLite database of another application")
    if file_format > _FORMAT:
        raise failed_precondition(
            "STORE_FILE_NEWER", f"{path} was written by a newer release (format {file_format})"
        )


def _create_tables(connection: sqlite3.Connection) -> None:
    ((file_format,),) = connection.execute("PRAGMA user_version").fetchall()
    if file_format == 0:
        for statement in _TABLES:
            connection.execute(statement)


def _reindex(connection: sqlite3.Connection, plan: IndexPlan, path: Path) -> None:
    """Make the entries anew if they were made for other declarations."""
    ((fingerprint,),) = connection.execute("SELECT fingerprint FROM meta").fetchall()
    if fingerprint == plan.fingerprint:
        return
    connection.execute("DELETE FROM entries")
    last = 0
    while rows := connection.execute(
        "SELECT number, path, data FROM documents WHERE number > ? ORDER BY number LIMIT ?",
        (last, _REINDEX_CHUNK),
    ).fetchall():
        for number, key_path, data in rows:
            index_keys, expires = _indexed(plan, path, Key.from_path(key_path), unpack(data))
            connection.execute(
                "UPDATE documents SET index_keys = ?, expires = ? WHERE number = ?",
                (msgpack.packb(index_keys), expires, number),
            )
            entries = [(each, number) for each in index_keys]
            connection.executemany("INSERT INTO entries VALUES (?, ?)", entries)
        last = rows[-1][0]
    connection.execute("UPDATE meta SET fingerprint = ?", (plan.fingerprint,))


def _indexed(
    plan: IndexPlan, path: Path, key: Key, data: dict[str, Any]
) -> tuple[tuple[bytes, ...], int | None]:
    """Return a document's sort keys and expiry; those of a collection no longer declared stay unseen."""
    if all(key.collection != each.name for each in plan.schema.collections):
        return (), None
    try:
        return plan.index_keys(key, data), plan.expires(key, data)
    except ServiceError as error:
        raise failed_precondition(
            "STORE_NOT_INDEXABLE", f"{path}: document {key.id!r} of {key.collection!r}: {error.message}"
        ) from error
