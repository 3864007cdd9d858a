"""What only Firestore can do to a store: other processes, lost answers, a database that stalls."""

from __future__ import annotations

import asyncio
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any

import msgpack
import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import (
    Collection,
    Create,
    Decision,
    Delete,
    Document,
    DocumentStore,
    Key,
    Query,
    QueryShape,
    Schema,
    Set,
    Update,
    Write,
    open_store,
)
from service_common.storage.firestore.connection import connect
from service_common.storage.firestore.layout import Layout
from service_common.storage.firestore.store import FirestoreStore

from tests.support.faulty_firestore import FaultyConnection
from tests.support.firestore_emulator import EmulatorMissing, own_emulator

A = Key("things", "acme", "a")
B = Key("things", "acme", "b")
LEASES = QueryShape("leases_by_owner", "leases", ("owner",))

INCREMENTER = """
import asyncio, sys
from service_common.clock import SystemClock
from service_common.storage import Collection, Decision, Key, Schema, Set, open_store

A = Key("things", "acme", "a")

def increment(found):
    return Decision(None, [Set(A, {"n": (found[0].data["n"] if found[0] else 0) + 1})])

async def main():
    store = await open_store(sys.argv[1], schema=Schema((Collection("things"),)), clock=SystemClock())
    for _ in range(int(sys.argv[2])):
        await store.transact([A], increment)
    await store.close()

asyncio.run(main())
"""


async def data_of(store: FirestoreStore, key: Key) -> dict[str, Any] | None:
    """Return the fields of a document, None if absent."""
    document = await store.get(key)
    return None if document is None else dict(document.data)


def increment(found: Sequence[Document | None]) -> Decision[int]:
    """Count up."""
    count: Any = found[0].data["n"] if found[0] else 0
    return Decision(count, [Set(A, {"n": count + 1})])


async def test_increments_of_two_processes_are_all_kept(firestore_url: str, schema: Schema) -> None:
    """Two processes that fight for one document lose none of their increments."""
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", INCREMENTER, firestore_url, "40", stdout=PIPE, stderr=PIPE
        )
        for _ in range(2)
    ]
    ends = await asyncio.gather(*(each.communicate() for each in running))
    assert [each.returncode for each in running] == [0, 0], ends
    store = await open_store(firestore_url, schema=Schema((Collection("things"),)), clock=ManualClock())
    found = await store.get(A)
    assert found is not None
    assert found.data == {"n": 80}
    await store.close()


async def test_increments_of_two_stores_each_saw_another_value(
    firestore_url: str, schema: Schema, clock: ManualClock
) -> None:
    """Transactions of two stores that know nothing of each other are serialisable."""
    stores = [await open_store(firestore_url, schema=schema, clock=clock) for _ in range(2)]
    seen = await asyncio.gather(*(stores[n % 2].transact([A], increment) for n in range(40)))
    assert sorted(seen) == list(range(40))
    for each in stores:
        await each.close()


async def test_what_was_only_read_is_verified(firestore_url: str, schema: Schema, clock: ManualClock) -> None:
    """Two transactions that each read what the other writes do not both go through: no write skew."""
    stores = [await open_store(firestore_url, schema=schema, clock=clock) for _ in range(2)]

    def take(mine: Key) -> Any:
        def decide(found: Sequence[Document | None]) -> Decision[bool]:
            free = found == [None, None]
            return Decision(free, [Create(mine, {})] if free else [])

        return decide

    for _ in range(10):
        taken = await asyncio.gather(stores[0].transact([A, B], take(A)), stores[1].transact([A, B], take(B)))
        assert sorted(taken) == [False, True]
        await stores[0].commit([Delete(A), Delete(B)])
    for each in stores:
        await each.close()


WRITES: list[list[Write]] = [
    [Set(A, {"n": 1})],
    [Create(A, {"n": 1})],
    [Create(A, {"n": 1}), Set(B, {}), Delete(Key("things", "acme", "c"))],
]


@pytest.mark.parametrize("writes", WRITES)
async def test_a_commit_whose_answer_is_lost_went_through(
    faulty: FirestoreStore, wire: FaultyConnection, writes: list[Write]
) -> None:
    """What was stored is answered as stored, and is not written again."""
    wire.after = 1
    await faulty.commit(writes)
    assert await data_of(faulty, A) == {"n": 1}
    assert wire.commits == 1


async def test_a_transaction_whose_answer_is_lost_happens_once(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """Whichever way the answers are lost, each transaction counts once and returns what it decided."""
    results = []
    for wire.before, wire.after in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]:
        results.append(await faulty.transact([A], increment))
    assert results == list(range(6))
    assert await data_of(faulty, A) == {"n": 6}


async def test_a_conditional_commit_that_was_lost_is_sent_again(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """While what it requires still holds it cannot have gone through, so it goes again."""
    wire.before = 1
    await faulty.commit([Create(A, {"n": 1})])
    assert await data_of(faulty, A) == {"n": 1}
    assert wire.commits == 2


async def test_an_unconditional_commit_that_was_lost_is_not_guessed_at(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """Nothing tells a write that never came from one that was overwritten: COMMIT_UNKNOWN."""
    wire.before = 1
    with pytest.raises(ServiceError) as caught:
        await faulty.commit([Set(A, {"n": 1})])
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.UNAVAILABLE, "COMMIT_UNKNOWN")
    assert wire.commits == 1


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_lost_commit_that_others_followed_is_unknown(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore, fault: str
) -> None:
    """If another writer was there meanwhile, the store neither claims nor repeats the commit."""
    await faulty.commit([Set(A, {"n": 0})])

    async def overwrite() -> None:
        await other.commit([Set(A, {"n": 100})])

    setattr(wire, fault, 1)
    wire.meanwhile = overwrite
    with pytest.raises(ServiceError) as caught:
        await faulty.transact([A], increment)
    assert caught.value.reason == "COMMIT_UNKNOWN"
    assert await data_of(faulty, A) == {"n": 100}
    assert wire.commits == 2


async def test_most_commits_read_nothing(
    faulty: FirestoreStore, wire: FaultyConnection, clock: ManualClock
) -> None:
    """Writes whose conditions Firestore can check are one call; only merging and expiry need a look."""
    cases: list[tuple[list[Write], int]] = [
        ([Create(A, {})], 0),
        ([Set(A, {}), Delete(B)], 0),
        ([Set(Key("leases", "acme", "l"), {"expire_time": clock.now()})], 0),
        ([Update(A, {"n": 1})], 1),
        ([Create(Key("leases", "acme", "l"), {})], 1),
    ]
    for writes, reads in cases:
        wire.reads = wire.commits = 0
        await faulty.commit(writes)
        assert (wire.reads, wire.commits) == (reads, 1), writes
    found = await faulty.get(A)
    assert found is not None
    wire.reads = wire.commits = 0
    await faulty.commit([Set(A, {}, found.version)])
    assert (wire.reads, wire.commits) == (0, 1)


@pytest.mark.parametrize(
    "fields",
    [
        7,
        {},
        {"values": 1, "tenant": "acme", "id": "a"},
        {"values": [], "tenant": "acme", "id": "a"},
        {"values": [2**64 - 1], "tenant": "acme", "id": "a"},
        {"values": [{}], "tenant": "acme", "id": "a"},
        {"values": [1], "tenant": "zeta", "id": "a"},
        {"values": [1], "tenant": "acme", "id": "a/b"},
    ],
)
async def test_forged_cursors_are_refused(
    faulty: FirestoreStore, shapes: dict[str, QueryShape], fields: object
) -> None:
    """A cursor with the right seal and anything else inside is INVALID_ARGUMENT, never a query."""
    await faulty.commit([Set(Key("things", "acme", f"{n}"), {"kind": "k", "rank": n}) for n in range(3)])
    query = Query(shapes["by_rank"], {"kind": "k"}, "acme", limit=1)
    cursor = (await faulty.query(query)).next_cursor
    assert cursor is not None
    forged = urlsafe_b64encode(urlsafe_b64decode(cursor)[:6] + msgpack.packb(fields)).decode()
    with pytest.raises(ServiceError) as caught:
        await faulty.query(replace(query, cursor=forged))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_a_page_with_expired_documents_is_still_of_one_moment(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore, clock: ManualClock
) -> None:
    """A page that takes two calls, as expired documents filled the first, ignores what came between them."""
    keys = [Key("leases", "acme", f"{n}") for n in range(6)]
    soon, late = clock.now() + timedelta(seconds=1), clock.now() + timedelta(seconds=9)
    ends = [soon, soon, soon, late, late, late]
    await faulty.commit(
        [Set(key, {"owner": "me", "expire_time": end, "n": 0}) for key, end in zip(keys, ends, strict=True)]
    )
    clock.advance(1)

    async def renew() -> None:
        await other.commit([Set(key, {"owner": "me", "n": 1}) for key in keys])

    wire.between = renew
    page = await faulty.query(Query(LEASES, {"owner": "me"}, "acme", limit=2))
    assert [(each.key.id, each.data["n"]) for each in page.documents] == [("3", 0), ("4", 0)]
    assert page.next_cursor is not None


async def test_schemas_share_a_database_without_meeting(firestore_url: str, clock: ManualClock) -> None:
    """Two services with collections of one name see only their own documents, over all tenants too."""
    everywhere = QueryShape("everywhere", "things", all_tenants=True)
    one, two = [
        await open_store(
            firestore_url, schema=Schema((Collection("things"),), (everywhere,), name=name), clock=clock
        )
        for name in ("one", "two")
    ]
    await one.commit([Create(A, {"of": "one"})])
    assert await two.get(A) is None
    await two.commit([Create(A, {"of": "two"}), Create(B, {"of": "two"})])
    assert [each.data["of"] for each in (await one.query(Query(everywhere))).documents] == ["one"]
    for each in (one, two):
        await each.close()


async def test_a_database_that_stalls_is_unavailable_and_then_back(
    monkeypatch: pytest.MonkeyPatch, schema: Schema, clock: ManualClock
) -> None:
    """Frozen, every call ends in UNAVAILABLE by its time-out; thawed, the same store works."""
    try:
        with own_emulator() as emulator:
            monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
            wire = await connect(timeout_s=2)
            store = FirestoreStore(
                schema, "projects/stall/databases/(default)", clock=clock, connection=wire, rng=Random(7)
            )
            emulator.stall()
            started = time.monotonic()
            for call in (store.ping(), store.get(A), store.transact([A], increment)):
                with pytest.raises(ServiceError) as caught:
                    await call
                assert caught.value.kind is ErrorKind.UNAVAILABLE
            assert time.monotonic() - started < 60
            emulator.resume()
            assert await _eventually(store) == 0
            await store.close()
    except EmulatorMissing as error:
        pytest.skip(str(error))


async def _eventually(store: FirestoreStore) -> int:
    """Return the result of the first transaction that goes through."""
    for _ in range(20):
        try:
            return await store.transact([A], increment)
        except ServiceError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
    raise AssertionError("the store did not come back")


async def test_opening_does_not_wait_for_the_database(
    monkeypatch: pytest.MonkeyPatch, schema: Schema, clock: ManualClock
) -> None:
    """A store of a database that is away opens; its calls are UNAVAILABLE."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    store = await open_store("firestore://away/(default)", schema=schema, clock=clock)
    for call in (store.ping(), store.commit([Set(A, {})])):
        with pytest.raises(ServiceError) as caught:
            await call
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    await store.close()


async def test_without_credentials_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, schema: Schema, clock: ManualClock
) -> None:
    """A real database without an account to use is refused at once, and the message says what to set."""
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(ServiceError) as caught:
        await open_store("firestore://project/(default)", schema=schema, clock=clock)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.FAILED_PRECONDITION, "STORE_NOT_READY")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.message


async def test_without_the_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, schema: Schema, clock: ManualClock
) -> None:
    """A service installed without Google's client says what to install."""
    monkeypatch.setitem(sys.modules, "service_common.storage.firestore.store", None)
    with pytest.raises(ServiceError) as caught:
        await open_store("firestore://p/d", schema=schema, clock=clock)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "[firestore]" in caught.value.message


def test_a_declared_field_cannot_hide_the_body() -> None:
    """A shape over a field called as the body is refused before anything is stored."""
    schema = Schema((Collection("things"),), (QueryShape("x", "things", ("body",)),))
    with pytest.raises(ValueError, match="body"):
        Layout(schema, "projects/p/databases/d")
