"""A metered store answers as the one behind it, and counts what a hosted database would bill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from service_common.clock import ManualClock
from service_common.errors import ServiceError, aborted
from service_common.storage import (
    Collection,
    Create,
    Decision,
    Delete,
    Document,
    Key,
    Order,
    Query,
    QueryShape,
    Schema,
    Set,
    Value,
    open_store,
)
from service_common.storage.metering import MeteredStore, Operation

BY_RANK = QueryShape("by_rank", "things", ("kind",), (Order("rank"),))
TAGGED = QueryShape("tagged", "things", (), (Order("rank"),), contains="tags")
SCHEMA = Schema((Collection("things"), Collection("plain")), (BY_RANK, TAGGED), name="test")
A, B = Key("things", "acme", "a"), Key("things", "acme", "b")
PLAIN = Key("plain", "acme", "a")

Counts = Counter[tuple[str, Operation]]


@pytest.fixture
def counts() -> Counts:
    """What was counted so far."""
    return Counter()


@pytest.fixture
async def store(counts: Counts) -> MeteredStore:
    """An empty store that is counted."""

    def count(collection: str, operation: Operation, number: int) -> None:
        counts[collection, operation] += number

    opened = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    return MeteredStore(opened, SCHEMA, count=count)


async def test_writes_and_their_index_entries(store: MeteredStore, counts: Counts) -> None:
    """A write costs one entry per index, and one per element of a list; a delete is one of its own kind."""
    thing: dict[str, Value] = {"kind": "k", "rank": 1, "tags": ["x", "y", "z"]}
    await store.commit([Create(A, thing), Set(B, thing), Set(PLAIN, {"n": 1}), Delete(A)])
    assert counts["things", Operation.WRITE] == 2
    assert counts["things", Operation.DELETE] == 1
    assert counts["things", Operation.INDEX_ENTRY] == 2 * (1 + 3)
    assert counts["plain", Operation.WRITE] == 1
    assert counts["plain", Operation.INDEX_ENTRY] == 0


async def test_reads(store: MeteredStore, counts: Counts) -> None:
    """A document is paid once per read, also an absent one; an empty answer costs one."""
    await store.commit([Set(each, {"kind": "k", "rank": 1}) for each in (A, B)])
    assert await store.get(PLAIN) is None
    assert counts["plain", Operation.READ] == 1
    await store.get_many([A, B, A])
    assert counts["things", Operation.READ] == 2
    await store.query(Query(BY_RANK, {"kind": "k"}, "acme"))
    assert counts["things", Operation.READ] == 4
    await store.query(Query(BY_RANK, {"kind": "other"}, "acme"))
    assert counts["things", Operation.READ] == 5


async def test_transactions(store: MeteredStore, counts: Counts) -> None:
    """What was read and what the decision wrote; the result is the decision's."""

    def decide(found: Sequence[Document | None]) -> Decision[int]:
        return Decision(len(found), [Set(PLAIN, {"n": 1})])

    assert await store.transact([A, PLAIN], decide) == 2
    assert counts["things", Operation.READ] == counts["plain", Operation.READ] == 1
    assert counts["plain", Operation.WRITE] == 1


async def test_what_fails_is_not_counted(store: MeteredStore, counts: Counts) -> None:
    """A refused commit or decision reaches the caller and costs nothing here."""

    def refuse(found: Sequence[Document | None]) -> Decision[None]:
        raise aborted("NO", "no")

    with pytest.raises(ServiceError):
        await store.transact([A], refuse)
    await store.commit([Create(A, {"n": 1})])
    counted = counts.copy()
    with pytest.raises(ServiceError):
        await store.commit([Create(A, {"n": 1})])
    assert counts == counted


async def test_signals_of_a_feed(store: MeteredStore, counts: Counts) -> None:
    """Each signal that is taken costs a read of the document; the feed is otherwise the store's own."""
    async with store.watch(PLAIN) as feed:
        assert feed.is_live
        await feed.changed()
        await store.commit([Set(PLAIN, {})])
        await feed.changed()
    assert counts["plain", Operation.READ] == 2
    assert not feed.is_live
