"""From a store's URL to an open store; the only place that knows which backends exist."""

from __future__ import annotations

from pathlib import Path

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage.memory import MemoryStore
from service_common.storage.shapes import Schema
from service_common.storage.sqlite import SqliteStore
from service_common.storage.store import DocumentStore

_SQLITE = "sqlite:///"
_MEMORY = "memory://"


async def open_store(url: str, *, schema: Schema, clock: Clock) -> DocumentStore:
    """Open the store a URL names; whoever opens it closes it.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db` or `memory://`.
        schema: What will be stored and asked.
        clock: Decides what is expired.

    Raises:
        ServiceError: INVALID_ARGUMENT naming what is supported; else as the backend says when it cannot open.
    """
    if url == _MEMORY:
        return MemoryStore(schema, clock)
    path = url.removeprefix(_SQLITE)
    if url.startswith(_SQLITE) and path and not path.startswith(":") and "?" not in path:
        return await SqliteStore.open(Path(path), schema=schema, clock=clock)
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "UNSUPPORTED_STORE_URL",
        f"cannot open {url!r}: supported are sqlite:///relative.db, sqlite:////absolute/path.db and memory://",
    )
