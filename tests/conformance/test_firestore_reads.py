"""What Firestore is asked to read, and what is not read because this process wrote it last."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError, aborted
from service_common.storage import (
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
    Value,
    open_store,
)
from service_common.storage.firestore.store import FirestoreStore
from service_common.storage.metering import Operation

from tests.support.faulty_firestore import FaultyConnection

A, B, C = (Key("things", "acme", each) for each in "abc")


def increment(found: Sequence[Document | None]) -> Decision[int]:
    """Count up, and return the count before."""
    count: Any = found[0].data["n"] if found[0] else 0
    return Decision(count, [Set(A, {"n": count + 1})])


def look(found: Sequence[Document | None]) -> Decision[int]:
    """Return the count."""
    count: Any = found[0].data["n"] if found[0] else 0
    return Decision(count)


async def test_several_documents_are_read_in_one_transaction(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """Each call of a read names the transaction that the first one began, so all see one moment."""
    keys = [Key("things", "acme", f"{n}") for n in range(1001)]
    await faulty.get_many(keys)
    first, *others = wire.requests
    assert first.new_transaction.HasField("read_only")
    assert len(others) == 2
    assert all(each.transaction for each in others)
    assert len({bytes(each.transaction) for each in others}) == 1


async def test_a_transaction_on_what_was_written_last_reads_nothing(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """The first transaction reads, the following are one commit each."""
    seen = [await faulty.transact([A], increment) for _ in range(5)]
    assert seen == list(range(5))
    assert (wire.reads, wire.commits) == (1, 5)


async def test_what_is_not_remembered_is_read(faulty: FirestoreStore, wire: FaultyConnection) -> None:
    """A transaction over several documents reads only those this process did not write last."""
    await faulty.transact([A], increment)
    wire.requests.clear()
    await faulty.transact([A, B], increment)
    assert [[name.rsplit("/", 1)[1] for name in each.documents] for each in wire.requests] == [["b"]]


async def test_what_others_wrote_meanwhile_is_noticed(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """A transaction that began from an outdated document is refused, and done again on what is stored."""
    await faulty.transact([A], increment)
    await other.commit([Set(A, {"n": 50})])
    wire.reads = wire.commits = 0
    assert await faulty.transact([A], increment) == 50
    assert (wire.reads, wire.commits) == (1, 2)
    await other.commit([Delete(A)])
    assert await faulty.transact([A], increment) == 0


async def test_a_decision_without_writes_sees_what_is_stored(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """Nothing would verify what it rests on, so it is made on what was read, and costs no write."""
    await faulty.transact([A], increment)
    await other.commit([Set(A, {"n": 50})])
    wire.commits = 0
    assert await faulty.transact([A], look) == 50
    assert wire.commits == 0


async def test_a_refusal_rests_on_what_is_stored(faulty: FirestoreStore, other: DocumentStore) -> None:
    """A decision that refuses an outdated document is asked again with the stored one."""

    def only_above_ten(found: Sequence[Document | None]) -> Decision[int]:
        if look(found).result < 10:
            raise aborted("TOO_LOW", "too low")
        return increment(found)

    await faulty.transact([A], increment)
    with pytest.raises(ServiceError) as caught:
        await faulty.transact([A], only_above_ten)
    assert caught.value.reason == "TOO_LOW"
    await other.commit([Set(A, {"n": 50})])
    assert await faulty.transact([A], only_above_ten) == 50


async def test_other_writes_are_forgotten_or_remembered(
    faulty: FirestoreStore, wire: FaultyConnection
) -> None:
    """Whatever this process wrote in between, a transaction sees it."""
    await faulty.transact([A], increment)
    await faulty.commit([Set(A, {"n": 7})])
    wire.commits = 0
    assert await faulty.transact([A], increment) == 7
    assert wire.commits == 1
    await faulty.commit([Delete(A)])
    assert await faulty.transact([A], increment) == 0
    wire.after = 1
    assert await faulty.transact([A], increment) == 1
    assert await faulty.transact([A], increment) == 2


async def test_remembered_documents_expire(faulty: FirestoreStore, clock: ManualClock) -> None:
    """A document is absent once its time has come, whoever wrote it."""
    lease = Key("leases", "acme", "l")

    def take(found: Sequence[Document | None]) -> Decision[bool]:
        if found[0] is not None:
            return Decision(False)
        return Decision(
            True, [Set(lease, {"owner": "me", "expire_time": clock.now() + timedelta(seconds=10)})]
        )

    assert await faulty.transact([lease], take)
    assert not await faulty.transact([lease], take)
    clock.advance(11)
    assert await faulty.transact([lease], take)


async def test_the_bill_is_counted_at_the_wire(
    firestore_url: str, schema: Schema, shapes: dict[str, QueryShape], clock: ManualClock
) -> None:
    """Spared reads cost nothing, verified documents a write, absent ones a read, refused commits nothing."""
    counts: Counter[tuple[str, Operation]] = Counter()

    def count(collection: str, operation: Operation, number: int) -> None:
        counts[collection, operation] += number

    store = await open_store(firestore_url, schema=schema, clock=clock, count=count)

    async def cost(awaitable: Any) -> dict[Operation, int]:
        counts.clear()
        await awaitable
        assert {each[0] for each in counts} <= {"things"}
        return {operation: number for (_, operation), number in counts.items() if number}

    first = await cost(store.transact([A], increment))
    assert (first[Operation.READ], first[Operation.WRITE]) == (1, 1)
    again = await cost(store.transact([A], increment))
    assert Operation.READ not in again
    assert again[Operation.WRITE] == 1
    assert await cost(store.get_many([A, B, C, A])) == {Operation.READ: 3}
    assert await cost(store.query(Query(shapes["of_kind"], {"kind": "none"}, "acme"))) == {Operation.READ: 1}
    tagged: dict[str, Value] = {"kind": "k", "rank": 1, "name": "n", "tags": ["x", "y"]}
    written = await cost(store.commit([Create(B, tagged), Delete(C)]))
    assert (written[Operation.WRITE], written[Operation.DELETE]) == (1, 1)
    plain = await cost(store.commit([Set(C, {**tagged, "tags": []})]))
    assert written[Operation.INDEX_ENTRY] - plain[Operation.INDEX_ENTRY] == 2
    verified = await cost(store.transact([A, B], increment))
    assert (verified[Operation.READ], verified[Operation.WRITE]) == (1, 2)
    with pytest.raises(ServiceError) as caught:
        await store.commit([Create(B, tagged)])
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    await store.close()


async def test_a_listener_pays_a_read_for_each_change(
    firestore_url: str, schema: Schema, clock: ManualClock
) -> None:
    """One for the document as it was found, and one for each time it is told of."""
    counts: Counter[tuple[str, Operation]] = Counter()

    def count(collection: str, operation: Operation, number: int) -> None:
        counts[collection, operation] += number

    store = await open_store(firestore_url, schema=schema, clock=clock, count=count)
    await store.commit([Set(A, {"n": 0})])
    async with store.watch(A) as feed:
        async with asyncio.timeout(60):
            await feed.changed()
            assert feed.is_live
            assert counts["things", Operation.READ] == 1
            await store.commit([Set(A, {"n": 1})])
            await feed.changed()
            assert counts["things", Operation.READ] == 2
    await store.close()


async def test_a_page_among_expired_documents_reads_little_more(
    firestore_url: str, schema: Schema, shapes: dict[str, QueryShape], clock: ManualClock
) -> None:
    """What is missing is read, not another page; and a long run of expired ones takes few calls."""
    reads: list[int] = []
    store = await open_store(
        firestore_url,
        schema=schema,
        clock=clock,
        count=lambda _, operation, number: reads.append(number) if operation is Operation.READ else None,
    )

    def lease(number: int, life_s: float) -> Set:
        until = clock.now() + timedelta(seconds=life_s)
        return Set(Key("leases", "acme", f"{number:03}"), {"owner": "me", "expire_time": until})

    await store.commit([lease(number, 5 if number in (3, 7) else 900) for number in range(60)])
    clock.advance(10)
    query = Query(shapes["leases_by_owner"], {"owner": "me"}, "acme", limit=20)
    assert len((await store.query(query)).documents) == 20
    assert sum(reads) <= 21 + 4
    await store.commit([lease(number, 5 if number >= 19 else 900) for number in range(400)])
    await store.commit([lease(number, 900) for number in range(400, 440)])
    clock.advance(10)
    reads.clear()
    assert len((await store.query(query)).documents) == 20
    assert len(reads) <= 30
    await store.close()
