"""Records what the cache holds as a corpus: `python -m benchmarks.corpus.record STORE_URL > FILE`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from content_cache.repository import SCHEMA, EntryRepository
from contentfactory.cache.v1 import cache_pb2
from service_common.clock import SystemClock
from service_common.storage.opening import open_store


async def entries(store_url: str) -> list[dict[str, Any]]:
    """Return every stored entry, the oldest first, as the fields a corpus has."""
    clock = SystemClock()
    store = await open_store(store_url, schema=SCHEMA, clock=clock)
    found: dict[str, dict[str, Any]] = {}
    try:
        repository, cursor = EntryRepository(store, clock=clock, writer=1), None
        while True:
            page = await repository.newest(cursor)
            for record in page.records:
                if record.entry is not None:
                    found.setdefault(record.address.key, _fields(record.entry.encoded))
            cursor = page.next_cursor
            if cursor is None:
                return [found[key] for key in reversed(found)]
    finally:
        await store.close()


def _fields(encoded: bytes) -> dict[str, Any]:
    entry = cache_pb2.Entry.FromString(encoded)
    return {
        "key": entry.key,
        "content_type": entry.content_type,
        "tags": list(entry.tags),
        "metadata": dict(entry.metadata),
        "cost_micros": entry.cost_micros,
        "value": entry.value.decode(),
    }


def main() -> None:
    """Write one line per entry."""
    for each in asyncio.run(entries(sys.argv[1])):
        print(json.dumps(each, ensure_ascii=False, sort_keys=True))


if __name__ == "__main__":
    main()
