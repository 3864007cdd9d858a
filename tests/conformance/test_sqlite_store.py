"""What only a file can suffer: other processes, kill -9, a full disk, garbage, restarts, new declarations."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import (
    Collection,
    Create,
    Decision,
    Delete,
    Key,
    Order,
    Query,
    QueryShape,
    Schema,
    Set,
    Value,
    open_store,
)
from service_common.storage.sqlite.file import connect
from service_common.storage.sqlite.store import SqliteStore

COUNTER = Key("things", "acme", "counter")
EXPIRED: dict[str, Value] = {"expire_time": datetime(2000, 1, 1, tzinfo=UTC)}
SHARED = Schema((Collection("things"),), (QueryShape("by_n", "things", (), (Order("n"),)),))

PROGRAM = """
import asyncio, sys
from service_common.clock import SystemClock
from service_common.storage import *

SCHEMA = Schema((Collection("things"),), (QueryShape("by_n", "things", (), (Order("n"),)),))
KEY = Key("things", "acme", "counter")

def increment(found):
    return Decision(None, [Set(KEY, {"n": (found[0].data["n"] if found[0] else 0) + 1})])

async def count(store, times):
    for _ in range(times):
        await asyncio.gather(*(store.transact([KEY], increment) for _ in range(5)))

async def fill(store):
    n = 0
    while True:
        pair = [Create(Key("things", "acme", f"{n}-{half}"), {"n": n, "body": b"x" * 3000}) for half in "ab"]
        await store.commit(pair)
        print(n, flush=True)
        n += 1

async def main(path, what):
    store = await open_store(f"sqlite:///{path}", schema=SCHEMA, clock=SystemClock())
    await (fill(store) if what == "fill" else count(store, int(what)))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be; its folder does not exist yet."""
    return tmp_path / "new" / "store.db"


@pytest.fixture
async def file_store(path: Path, schema: Schema, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    """An open store that gives up on a busy file soon."""
    store = await SqliteStore.open(path, schema=schema, clock=clock, busy_attempts=2)
    yield store
    await store.close()


def start(path: Path, what: str) -> subprocess.Popen[str]:
    """Start another process on the file."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def documents_without_entries(path: Path) -> int:
    """Count what the tables disagree on."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (stray,) = connection.execute(
            "SELECT count(*) FROM documents FULL JOIN entries USING (number)"
            " WHERE documents.path IS NULL OR entries.sort_key IS NULL"
        ).fetchone()
    return int(stray)


def lay(path: Path, content: bytes) -> None:
    """Put a file where the store will be."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def content_of(path: Path) -> bytes:
    """Return what the file holds."""
    return path.read_bytes()


async def test_processes_lose_no_increment(path: Path, clock: ManualClock) -> None:
    """Two processes that create the file together and count in it with transactions lose nothing."""
    others = [start(path, "200") for _ in range(2)]
    for each in others:
        _, errors = await asyncio.to_thread(each.communicate, timeout=60)
        assert each.returncode == 0, errors
    store = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    found = await store.get(COUNTER)
    await store.close()
    assert found is not None
    assert found.data == {"n": 2000}


async def test_kill_in_mid_write_keeps_what_was_acknowledged(path: Path, clock: ManualClock) -> None:
    """After kill -9 every acknowledged commit is there, whole; so is the last one, or not at all."""
    process = start(path, "fill")
    assert process.stdout is not None
    for _ in range(200):
        assert process.stdout.readline()
    process.kill()
    # Not communicate(): it reads past the lines that readline() has already buffered, and loses them.
    acknowledged = 200 + len(await asyncio.to_thread(process.stdout.readlines))
    process.communicate()
    store = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    query = Query(SHARED.shapes[0], {}, "acme", limit=1000)
    found: list[object] = []
    while True:
        page = await store.query(query)
        found += [each.data["n"] for each in page.documents]
        if page.next_cursor is None:
            break
        query = replace(query, cursor=page.next_cursor)
    await store.close()
    pairs, odd = divmod(len(found), 2)
    assert odd == 0
    assert found == [n for n in range(pairs) for _ in range(2)]
    assert pairs - acknowledged in (0, 1)
    assert documents_without_entries(path) == 0


async def test_a_restart_keeps_documents_and_versions_go_on(
    path: Path, schema: Schema, clock: ManualClock
) -> None:
    """What was written is there after closing and opening; no version is given out twice."""
    versions = []
    for _ in range(3):
        store = await open_store(f"sqlite:///{path}", schema=schema, clock=clock)
        await store.commit([Delete(COUNTER), Create(COUNTER, {"kind": "k"})])
        await store.close()
        store = await open_store(f"sqlite:///{path}", schema=schema, clock=clock)
        found = await store.get(COUNTER)
        assert found is not None
        versions.append(found.version)
        await store.close()
    assert len(set(versions)) == 3


async def test_a_full_disk_fails_alone_and_passes(path: Path, schema: Schema, clock: ManualClock) -> None:
    """What does not fit is UNAVAILABLE, what fits goes through, and room makes all well."""
    connections: list[sqlite3.Connection] = []

    def connect_to(where: Path) -> sqlite3.Connection:
        connections.append(connect(where))
        connections[-1].execute("PRAGMA max_page_count = 60")
        return connections[-1]

    store = await SqliteStore.open(path, schema=schema, clock=clock, connect_to=connect_to)
    await store.commit([Set(COUNTER, {"n": 0})])
    large = [store.commit([Create(Key("things", "acme", f"{n}"), {"b": b"x" * 150_000})]) for n in range(3)]
    outcomes = await asyncio.gather(*large, store.commit([Set(COUNTER, {"n": 1})]), return_exceptions=True)
    failed = [each for each in outcomes if isinstance(each, ServiceError)]
    assert [(each.kind, each.reason) for each in failed] == [(ErrorKind.UNAVAILABLE, "STORE_FULL")] * 2
    counter = await store.get(COUNTER)
    assert counter is not None
    assert counter.data == {"n": 1}
    connections[1].execute("PRAGMA max_page_count = 100000")
    await store.commit([Create(Key("things", "acme", "more"), {"b": b"x" * 150_000})])
    await store.close()


async def test_a_locked_file_is_unavailable_until_it_is_free(file_store: SqliteStore, path: Path) -> None:
    """While another holds the lock, writes are UNAVAILABLE and reads go on; afterwards all is well."""
    await file_store.commit([Set(COUNTER, {"n": 1})])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceError) as caught:
        await file_store.commit([Set(COUNTER, {"n": 2})])
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.UNAVAILABLE, "STORE_BUSY")
    assert await file_store.get(COUNTER) is not None
    other.execute("ROLLBACK")
    other.close()
    await file_store.commit([Set(COUNTER, {"n": 2})])


async def test_a_broken_connection_is_replaced(file_store: SqliteStore) -> None:
    """An error of the connection fails the operations at hand; the next find a new connection."""
    await file_store.commit([Set(COUNTER, {"n": 1})])
    await file_store.ping()
    broken = file_store._writer._connection
    assert broken is not None
    broken.close()
    idle = file_store._readers._idle.get()
    idle.close()
    file_store._readers._idle.put(idle)
    for call in (file_store.commit([Set(COUNTER, {"n": 2})]), file_store.get(COUNTER)):
        with pytest.raises(ServiceError) as caught:
            await call
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    await file_store.commit([Set(COUNTER, {"n": 3})])
    found = await file_store.get(COUNTER)
    assert found is not None
    assert found.data == {"n": 3}


async def test_damaged_documents_are_data_loss(file_store: SqliteStore, path: Path) -> None:
    """A document that cannot be decoded is DATA_LOSS to its readers; its neighbours are unharmed."""
    other = Key("things", "acme", "other")
    await file_store.commit([Set(COUNTER, {"n": 1}), Set(other, {"n": 2})])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE documents SET data = x'c1' WHERE path = ?", (COUNTER.path(),))
    for call in (file_store.get(COUNTER), file_store.transact([COUNTER], lambda _: Decision(None))):
        with pytest.raises(ServiceError) as caught:
            await call
        assert caught.value.kind is ErrorKind.DATA_LOSS
    assert await file_store.get(other) is not None


@pytest.mark.parametrize("content", [b"this is no database\n" * 100, b"x"])
async def test_garbage_is_refused_by_name(
    path: Path, schema: Schema, clock: ManualClock, content: bytes
) -> None:
    """A file that is no database is refused with its name, and left as it was."""
    lay(path, content)
    with pytest.raises(ServiceError, match=str(path)) as caught:
        await open_store(f"sqlite:///{path}", schema=schema, clock=clock)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert content_of(path) == content


async def test_foreign_and_newer_databases_are_refused(
    path: Path, schema: Schema, clock: ManualClock
) -> None:
    """Another application's database, and a later release's, are refused by name rather than written to."""
    lay(path, b"")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ServiceError, match=str(path)):
        await open_store(f"sqlite:///{path}", schema=schema, clock=clock)
    lay(path, b"")
    store = await open_store(f"sqlite:///{path}", schema=schema, clock=clock)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ServiceError, match="newer release"):
        await open_store(f"sqlite:///{path}", schema=schema, clock=clock)


async def test_new_declarations_reindex_what_is_there(path: Path, clock: ManualClock) -> None:
    """Later shapes and expiries cover old documents; a process with the old ones is told to restart."""
    before = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    data: dict[str, Value] = {"kind": "k", "end": clock.now()}
    await before.commit([Create(Key("things", "acme", f"{n}"), {"n": n, "kind": "k"}) for n in range(450)])
    await before.commit([Create(Key("things", "acme", "ended"), data)])
    of_kind = QueryShape("of_kind", "things", ("kind",))
    declared = Schema((Collection("things", ttl_field="end"),), (of_kind,))
    after = await open_store(f"sqlite:///{path}", schema=declared, clock=clock)
    assert len((await after.query(Query(of_kind, {"kind": "k"}, "acme", limit=1000))).documents) == 450
    assert await after.get(Key("things", "acme", "ended")) is None
    for call in (before.commit([Delete(COUNTER)]), before.query(Query(SHARED.shapes[0], {}, "acme"))):
        with pytest.raises(ServiceError) as caught:
            await call
        assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    await after.commit([Create(COUNTER, {"n": 450, "kind": "k"})])
    await before.close()
    await after.close()
    assert documents_without_entries(path) == 0
    again = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    assert len((await again.query(Query(SHARED.shapes[0], {}, "acme", limit=1000))).documents) == 451
    await again.close()


async def test_declarations_the_documents_defy_are_refused(path: Path, clock: ManualClock) -> None:
    """An index over a field that holds lists is refused by the document's name; the file stays as it was."""
    store = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    await store.commit([Create(COUNTER, {"n": 1, "tags": ["a"]})])
    await store.close()
    by_tags = Schema(SHARED.collections, (QueryShape("by_tags", "things", ("tags",)),))
    with pytest.raises(ServiceError, match=r"counter.*tags") as caught:
        await open_store(f"sqlite:///{path}", schema=by_tags, clock=clock)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    store = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    assert len((await store.query(Query(SHARED.shapes[0], {}, "acme"))).documents) == 1
    await store.close()


async def test_unchanged_index_values_are_not_rewritten(file_store: SqliteStore, path: Path) -> None:
    """A write that changes no indexed field touches no entry."""
    await file_store.commit([Set(COUNTER, {"kind": "k", "rank": 1, "x": 1})])
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE touched (x)")
        for event in ("INSERT", "DELETE", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER on_{event} AFTER {event} ON entries"
                " BEGIN INSERT INTO touched VALUES (1); END"
            )
    await file_store.commit([Set(COUNTER, {"kind": "k", "rank": 1, "x": 2})])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM touched").fetchone() == (0,)


@pytest.mark.parametrize(
    "url",
    [
        "", "store.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgres://x", "memory",
        "firestore://", "firestore://project", "firestore://project/", "firestore://project/(other)",
        "firestore://project/database/more",
    ],
)  # fmt: skip
async def test_unknown_urls_name_what_is_supported(url: str, schema: Schema, clock: ManualClock) -> None:
    """A URL no backend answers to is refused with the list of those that work."""
    with pytest.raises(ServiceError, match=r"absolute/path.db, firestore://PROJECT/DATABASE and memory://"):
        await open_store(url, schema=schema, clock=clock)


async def test_a_place_that_cannot_hold_a_file_is_unavailable(
    tmp_path: Path, schema: Schema, clock: ManualClock
) -> None:
    """A folder in the file's place, or a file in its folder's, is UNAVAILABLE naming the path."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "store.db"):
        with pytest.raises(ServiceError, match=str(place)) as caught:
            await open_store(f"sqlite:///{place}", schema=schema, clock=clock)
        assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_writes_of_other_processes_are_signalled(path: Path, clock: ManualClock) -> None:
    """A feed tells of what another process on the file does to the document."""
    store = await open_store(f"sqlite:///{path}", schema=SHARED, clock=clock)
    async with asyncio.timeout(60), store.watch(COUNTER) as feed:
        await feed.changed()
        assert feed.is_live
        other = start(path, "4")
        found = None
        while found is None or found.data["n"] != 20:
            await feed.changed()
            found = await store.get(COUNTER)
        _, errors = await asyncio.to_thread(other.communicate)
    assert other.returncode == 0, errors
    await store.close()


async def test_writes_of_this_process_are_signalled_at_once(
    file_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not found by looking: commits, transactions and removals of expired documents."""
    lease = Key("leases", "acme", "one")
    async with asyncio.timeout(30), file_store.watch(lease) as feed:
        await feed.changed()
        monkeypatch.setattr("service_common.storage.sqlite.following.LOOK_S", 3_600.0)
        await file_store.commit([Set(lease, {})])
        await feed.changed()
        await file_store.transact([], lambda _: Decision(None, [Set(lease, EXPIRED)]))
        await feed.changed()
        assert await file_store.sweep_expired() == 1
        await feed.changed()
