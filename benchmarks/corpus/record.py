"""Records what the cache holds as a corpus: `python -m benchmarks.corpus.record STORE_URL > FILE`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.compression.dictionary import prepare
from content_cache.compression.opening import Opening
from content_cache.compression.repository import DictionaryRepository
from content_cache.entry import Entry
from content_cache.repository.entries import EntryRepository
from content_cache.repository.schema import SCHEMA
from contentfactory.cache.v1 import cache_pb2
from service_common.clock import SystemClock
from service_common.storage.opening import open_store
from service_common.storage.store import DocumentStore


async def entries(store_url: str) -> list[dict[str, Any]]:
    """Return every stored entry, the oldest first, as the fields a corpus has."""
    clock = SystemClock()
    store = await open_store(store_url, schema=SCHEMA, clock=clock)
    found: dict[str, dict[str, Any]] = {}
    try:
        opening = await _opening(store)
        repository, cursor = EntryRepository(store, clock=clock, writer=1), None
        while True:
            page = await repository.newest(cursor)
            for address, entry in opening.decided([(each.address, each.entry) for each in page.records]):
                if isinstance(entry, Entry):
                    found.setdefault(address.key, _fields(entry.encoded))
            cursor = page.next_cursor
            if cursor is None:
                return [found[key] for key in reversed(found)]
    finally:
        await store.close()


async def _opening(store: DocumentStore) -> Opening:
    """Return what unpacks the store's entries."""
    dictionaries, cursor = Dictionaries(2**30), None
    while True:
        page, cursor = await DictionaryRepository(store).newest(cursor)
        for dictionary, keep_until in page:
            dictionaries.add(prepare(dictionary, keep_until))
        if cursor is None:
            return Opening(dictionaries, CompressionCounts())


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
