"""Documents such as each service might have stored, many of them, the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from content_cache.repository.schema import SCHEMA as CACHE
from parallel_processor.repository import SCHEMA as PROCESSOR
from progress_tracker.repository import SCHEMA as TRACKER
from prompt_optimizer.repository import SCHEMA as OPTIMIZER
from service_common.clock import SystemClock
from service_common.storage import MAX_WRITES, Key, Schema, Set, open_store

SCHEMAS = {each.name: each for each in (CACHE, OPTIMIZER, PROCESSOR, TRACKER)}
"""What each service declares, by its name."""

Documents = Mapping[Key, Mapping[str, Any]]

_TENANTS = 7
_EXPIRED_EVERY = 40


def documents(schema: Schema, count: int, *, most_bytes: int = 2000) -> Documents:
    """Return documents of all collections; of those that may expire, some have expired.

    Each has every field that a declared shape names, so all that is indexed has to be written.
    """
    rng = Random(schema.name)
    now = datetime.now(UTC).replace(microsecond=0)
    found: dict[Key, Mapping[str, Any]] = {}
    for number in range(count):
        collection = schema.collections[number % len(schema.collections)]
        key = Key(collection.name, f"tenant-{number % _TENANTS}", f"{rng.getrandbits(80):020x}")
        data: dict[str, Any] = {"number": number, "content": rng.randbytes(rng.randrange(most_bytes))}
        data |= dict.fromkeys(_ordered(schema, collection.name), number % 10)
        data |= {field: [number % 10, -1] for field in _listed(schema, collection.name)}
        if collection.ttl_field:
            days = -1 if number % _EXPIRED_EVERY == 0 else 30
            data[collection.ttl_field] = now + timedelta(days=days)
        found[key] = data
    return found


def living(found: Documents) -> Documents:
    """Return those that are not expired."""
    now = datetime.now(UTC)
    return {key: data for key, data in found.items() if data.get("expire_time", now) >= now}


async def keep(found: Documents, schema: Schema, folder: Path) -> None:
    """Write documents to the service's file in a folder."""
    store = await open_store(f"sqlite:///{folder / schema.name}.db", schema=schema, clock=SystemClock())
    writes = [Set(key, data) for key, data in found.items()]
    for start in range(0, len(writes), MAX_WRITES):
        await store.commit(writes[start : start + MAX_WRITES])
    await store.close()


def _ordered(schema: Schema, collection: str) -> Iterator[str]:
    for shape in schema.shapes:
        if shape.collection == collection:
            yield from (*shape.equals, *(each.field for each in shape.order))


def _listed(schema: Schema, collection: str) -> Iterator[str]:
    for shape in schema.shapes:
        if shape.collection == collection and shape.contains is not None:
            yield shape.contains
