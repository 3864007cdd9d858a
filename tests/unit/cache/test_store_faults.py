"""The durable tier over a full disk and a store that does not answer: memory serves on, nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from content_cache.entry import Address
from content_cache.repository.schema import SCHEMA
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage.documents import Write
from service_common.storage.memory import MemoryStore
from service_common.storage.sqlite.file import connect
from service_common.storage.sqlite.store import SqliteStore

from tests.unit.cache.replica import Replica, put

KEYS = [f"k{number}" for number in range(8)]
_FEW_PAGES, _MANY_PAGES = 60, 100_000


class StuckStore(MemoryStore):
    """A store whose commits wait for a gate."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.gate = asyncio.Event()
        self.begun = 0
        self.entered = asyncio.Event()

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit when the gate is open."""
        self.begun += 1
        self.entered.set()
        await self.gate.wait()
        await super().commit(writes)


def served(replica: Replica) -> list[str]:
    """Return which of the keys are found, as a caller finds them."""
    with replica.turn as cache:
        found = cache.get_many("a", KEYS)
    return [entry.address.key for entry in found if entry is not None]


async def test_a_full_disk_delays_what_is_stored(tmp_path: Path, clock: ManualClock, make_entry: Any) -> None:
    """What does not fit waits and is served from memory; when there is room it is all stored."""
    connections: list[sqlite3.Connection] = []

    def connect_to(where: Path) -> sqlite3.Connection:
        connections.append(connect(where))
        connections[-1].execute(f"PRAGMA max_page_count = {_FEW_PAGES}")
        return connections[-1]

    store: Any = await SqliteStore.open(
        tmp_path / "cache.db", schema=SCHEMA, clock=clock, connect_to=connect_to
    )
    replica = await Replica(store, clock).start()
    for key in KEYS:
        put(replica, make_entry(key, encoded=key.encode() * 30_000))
    with pytest.raises(ServiceError) as caught:
        await replica.writes.flush()
    assert caught.value.reason == "STORE_FULL"
    assert replica.writes.counts.failed_commits == 1
    assert len(replica.writes) + replica.writes.counts.written == len(KEYS)
    assert replica.writes.counts.dropped == 0
    assert served(replica) == KEYS
    for connection in connections[1:]:  # the first was closed when the tables were there
        connection.execute(f"PRAGMA max_page_count = {_MANY_PAGES}")
    await replica.writes.flush()
    restarted = await Replica(store, clock).start()
    assert served(restarted) == KEYS
    await store.close()


async def test_a_store_that_does_not_answer_holds_up_nobody(clock: ManualClock, make_entry: Any) -> None:
    """While a commit hangs, calls are answered; what changes gathers for one more commit, each key once.

    What is on its way counts as not stored yet: who waits for the queue to be empty loses nothing.
    """
    store = StuckStore(clock)
    replica = await Replica(store, clock).start()
    put(replica, make_entry(KEYS[0], encoded=b"old"))
    writing = asyncio.create_task(replica.writes.flush())
    await store.entered.wait()
    assert len(replica.writes) == 1
    for encoded in (b"older", b"new"):
        for key in KEYS:
            put(replica, make_entry(key, encoded=encoded))
    with replica.turn as cache:
        cache.delete(Address("a", KEYS[-1]))
    assert served(replica) == KEYS[:-1]
    assert (store.begun, len(replica.writes)) == (1, 1 + len(KEYS))
    store.gate.set()
    await writing
    assert store.begun == 2
    restarted = await Replica(store, clock).start()
    assert served(restarted) == KEYS[:-1]
    assert {entry.encoded for entry in restarted.cache.get_many("a", KEYS) if entry} == {b"new"}
