"""From a store's URL to an open store; the only place that knows which backends exist."""

from __future__ import annotations

import re
from pathlib import Path

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, failed_precondition
from service_common.storage.memory import MemoryStore
from service_common.storage.metering import Count, MeteredStore
from service_common.storage.migrating.scan import Scan
from service_common.storage.shapes import Schema
from service_common.storage.sqlite.scan import SqliteScan
from service_common.storage.sqlite.store import SqliteStore
from service_common.storage.store import DocumentStore

_SQLITE = "sqlite:///"
_MEMORY = "memory://"
_FIRESTORE = re.compile(r"firestore://([a-z][a-z0-9:.-]*)/(\(default\)|[a-z][a-z0-9-]*)")


def is_hosted(url: str) -> bool:
    """Tell whether a store bills each operation and is a network away: better asked seldom."""
    return _FIRESTORE.fullmatch(url) is not None


async def open_store(url: str, *, schema: Schema, clock: Clock, count: Count | None = None) -> DocumentStore:
    """Open the store a URL names; whoever opens it closes it.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `firestore://PROJECT/DATABASE` (the
            database may be `(default)`; FIRESTORE_EMULATOR_HOST leads to an emulator) or `memory://`.
        schema: What will be stored and asked.
        clock: Decides what is expired.
        count: Is told what a hosted database bills, or would bill for the same.

    Raises:
        ServiceError: INVALID_ARGUMENT naming what is supported; else as the backend says when it cannot open.
    """
    if named := _FIRESTORE.fullmatch(url):
        return await _open_firestore(*named.groups(), schema=schema, clock=clock, count=count)
    store = await _open_local(url, schema, clock)
    return store if count is None else MeteredStore(store, schema, count=count)


async def _open_local(url: str, schema: Schema, clock: Clock) -> DocumentStore:
    if url == _MEMORY:
        return MemoryStore(schema, clock)
    if path := _sqlite_path(url):
        return await SqliteStore.open(path, schema=schema, clock=clock)
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "UNSUPPORTED_STORE_URL",
        f"cannot open {url!r}: supported are sqlite:///relative.db, sqlite:////absolute/path.db, "
        "firestore://PROJECT/DATABASE and memory://",
    )


async def open_scan(url: str, *, schema: Schema) -> Scan:
    """Open what a URL names to read all that is stored there; whoever opens it closes it.

    Args:
        url: A SQLite file that exists, which no other process can open meanwhile, or a Firestore database.
        schema: What is stored.

    Raises:
        ServiceError: INVALID_ARGUMENT naming what is supported; else as the backend says when it cannot open.
    """
    if path := _sqlite_path(url):
        return await SqliteScan.open(path)
    if named := _FIRESTORE.fullmatch(url):
        # Imported on demand, as the store.
        from service_common.storage.firestore.scan import FirestoreScan  # noqa: PLC0415

        return await FirestoreScan.open(*named.groups(), schema=schema)
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "UNSUPPORTED_STORE_URL",
        f"cannot copy {url!r}: supported are sqlite:///relative.db, sqlite:////absolute/path.db and "
        "firestore://PROJECT/DATABASE",
    )


def _sqlite_path(url: str) -> Path | None:
    path = url.removeprefix(_SQLITE)
    if url.startswith(_SQLITE) and path and not path.startswith(":") and "?" not in path:
        return Path(path)
    return None


async def _open_firestore(
    project: str, database: str, *, schema: Schema, clock: Clock, count: Count | None
) -> DocumentStore:
    try:
        # Imported on demand: services without the extra start, and start fast.
        from service_common.storage.firestore.store import FirestoreStore  # noqa: PLC0415
    except ImportError as error:
        raise failed_precondition(
            "STORE_NOT_READY",
            "firestore:// needs Google's client; install contentfactory-service-common[firestore]",
        ) from error
    return await FirestoreStore.open(project, database, schema=schema, clock=clock, count=count)
