"""The sentences of `Scan`'s contract, each against every backend that documents are copied from or to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import Create, Delete, Key, Schema, Set, Update, Write, open_store
from service_common.storage.encoding import pack
from service_common.storage.migrating.scan import Scan, Stored
from service_common.storage.opening import open_scan

TENANTS = ("acme", "a", "a-b", "Ä", "𝄞")
IDS = ("1", "10", "2", "é", "zz", "￿", "😀")
KEYS = [Key("things", tenant, name) for tenant in TENANTS for name in IDS]
LEASE = Key("leases", "acme", "one")


@pytest.fixture(params=["sqlite", "firestore"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is, in each backend that outlives its process."""
    return (
        str(request.getfixturevalue("firestore_url"))
        if request.param == "firestore"
        else f"sqlite:///{tmp_path}/store.db"
    )


async def write(url: str, schema: Schema, *writes: Write) -> None:
    """Commit, and leave the store."""
    store = await open_store(url, schema=schema, clock=ManualClock())
    await store.commit(writes)
    await store.close()


@asynccontextmanager
async def scanning(url: str, schema: Schema) -> AsyncIterator[Scan]:
    """A scan that is closed."""
    scan = await open_scan(url, schema=schema)
    try:
        yield scan
    finally:
        await scan.close()


async def everything(scan: Scan, limit: int) -> list[Stored]:
    """Follow pages of things to the end."""
    found: list[Stored] = []
    while page := await scan.page("things", after=found[-1].key if found else None, limit=limit):
        found += page
        if len(page) < limit:
            break
    return found


@pytest.mark.parametrize("limit", [1, 4, 35, 500])
async def test_every_document_of_every_tenant_once(url: str, schema: Schema, limit: int) -> None:
    """Pages of any size yield every document of the collection once, with the bytes it was packed to."""
    await write(url, schema, *(Create(key, {"n": n}) for n, key in enumerate(KEYS)), Create(LEASE, {}))
    async with scanning(url, schema) as scan:
        found = await everything(scan, limit)
    assert len(found) == len(KEYS)
    assert {each.key: each.packed for each in found} == {key: pack({"n": n}) for n, key in enumerate(KEYS)}


async def test_the_order_is_the_same_every_time(url: str, schema: Schema) -> None:
    """The order does not depend on when documents were written, nor on the size of the pages."""
    await write(url, schema, *(Create(key, {}) for key in KEYS))
    async with scanning(url, schema) as scan:
        first = [each.key for each in await everything(scan, 3)]
    await write(url, schema, *(Set(key, {"again": True}) for key in reversed(KEYS)))
    async with scanning(url, schema) as scan:
        assert [each.key for each in await everything(scan, 500)] == first


async def test_it_goes_on_behind_a_key_that_is_gone(url: str, schema: Schema) -> None:
    """The place of a page is its key, not the document there."""
    await write(url, schema, *(Create(key, {}) for key in KEYS))
    async with scanning(url, schema) as scan:
        order = [each.key for each in await everything(scan, 500)]
    await write(url, schema, Delete(order[9]))
    async with scanning(url, schema) as scan:
        page = await scan.page("things", after=order[9], limit=3)
    assert [each.key for each in page] == order[10:13]


async def test_expired_documents_are_there(url: str, schema: Schema) -> None:
    """What is stored is read, whether or not its time has passed."""
    past = ManualClock().now() - timedelta(days=1)
    await write(url, schema, Create(LEASE, {"owner": "me", "expire_time": past}))
    async with scanning(url, schema) as scan:
        assert [each.key for each in await scan.page("leases", after=None, limit=10)] == [LEASE]


async def test_find_returns_what_is_stored(url: str, schema: Schema) -> None:
    """Of keys asked for, those that have a document come back with it, however many are asked."""
    await write(url, schema, *(Create(key, {"id": key.id}) for key in KEYS))
    missing = [Key("things", "acme", f"missing-{n}") for n in range(600)]
    async with scanning(url, schema) as scan:
        found = await scan.find([*missing, *KEYS])
        assert await scan.find([]) == []
    assert {each.key: each.packed for each in found} == {key: pack({"id": key.id}) for key in KEYS}


WRITES: list[Write] = [Set(KEYS[0], {}), Update(KEYS[0], {"n": 2}), Delete(KEYS[0]), Create(KEYS[1], {})]


async def test_the_mark_changes_with_every_write(tmp_path: Path, schema: Schema) -> None:
    """Creating, replacing, updating and removing change a file's mark; reading and reopening do not."""
    url = f"sqlite:///{tmp_path}/store.db"
    marks: list[str | None] = []
    for each in (Create(KEYS[0], {"n": 1}), *WRITES):
        await write(url, schema, each)
        for _ in range(2):
            async with scanning(url, schema) as scan:
                await everything(scan, 10)
                marks.append(await scan.mark())
    assert marks[::2] == marks[1::2]
    assert len(set(marks)) == len(WRITES) + 1


async def test_nobody_else_opens_a_file_meanwhile(tmp_path: Path, schema: Schema) -> None:
    """A file in use, even idly, is not scanned; one that is scanned cannot be opened, until it is closed."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = await open_store(url, schema=schema, clock=ManualClock())
    await store.commit([Create(KEYS[0], {})])
    with pytest.raises(ServiceError, match=r"store\.db is open in another process") as caught:
        await open_scan(url, schema=schema)
    assert caught.value.reason == "STORE_IN_USE"
    await store.close()
    async with scanning(url, schema):
        with pytest.raises(ServiceError) as caught:
            await open_store(url, schema=schema, clock=ManualClock())
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    await (await open_store(url, schema=schema, clock=ManualClock())).close()


async def test_what_is_no_store_is_refused_and_not_made(tmp_path: Path, schema: Schema) -> None:
    """A missing file, an empty one, a foreign one and memory are refused; nothing is created."""
    (tmp_path / "empty.db").touch()
    (tmp_path / "foreign.db").write_text("not a database")
    for name, kind in [
        ("missing.db", ErrorKind.NOT_FOUND),
        ("empty.db", ErrorKind.NOT_FOUND),
        ("foreign.db", ErrorKind.FAILED_PRECONDITION),
    ]:
        with pytest.raises(ServiceError, match=name) as caught:
            await open_scan(f"sqlite:///{tmp_path / name}", schema=schema)
        assert caught.value.kind is kind
    assert not (tmp_path / "missing.db").exists()
    with pytest.raises(ServiceError, match="cannot copy 'memory://'"):
        await open_scan("memory://", schema=schema)
