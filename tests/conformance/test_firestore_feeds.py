"""What only a listen stream can suffer: cut, refused, stalled, and changes that nobody heard of meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from service_common.clock import ManualClock
from service_common.storage import Delete, DocumentStore, Feed, Key, Schema, Set, open_store
from service_common.storage.firestore.connection import connect
from service_common.storage.firestore.store import FirestoreStore

from tests.support.faulty_firestore import FaultyConnection

A = Key("things", "acme", "a")
PATIENCE_S = 60.0


@pytest.fixture
async def wire(firestore_url: str) -> FaultyConnection:
    """A wire to the emulator that works until told otherwise."""
    return FaultyConnection(await connect())


@pytest.fixture
async def faulty(
    firestore_url: str, wire: FaultyConnection, schema: Schema, clock: ManualClock
) -> AsyncIterator[FirestoreStore]:
    """A store behind the faulty wire."""
    project, name = firestore_url.removeprefix("firestore://").split("/")
    database = f"projects/{project}/databases/{name}"
    store = FirestoreStore(schema, database, clock=clock, connection=wire, rng=Random(7))
    yield store
    await store.close()


@pytest.fixture
async def other(firestore_url: str, schema: Schema, clock: ManualClock) -> AsyncIterator[DocumentStore]:
    """Somebody else's store over the same database."""
    store = await open_store(firestore_url, schema=schema, clock=clock)
    yield store
    await store.close()


async def signalled(feed: Feed) -> None:
    """Take the next signal."""
    async with asyncio.timeout(PATIENCE_S):
        await feed.changed()


async def heard(feed: Feed, store: DocumentStore, expected: object) -> None:
    """Read after each signal until the document is as expected."""
    while True:
        found = await store.get(A)
        if (None if found is None else found.data) == expected:
            return
        await signalled(feed)


async def test_changes_of_others_are_heard(faulty: FirestoreStore, other: DocumentStore) -> None:
    """Written, and deleted, through another store."""
    async with faulty.watch(A) as feed:
        await signalled(feed)
        await other.commit([Set(A, {"n": 1})])
        await signalled(feed)
        await heard(feed, faulty, {"n": 1})
        await other.commit([Delete(A)])
        await signalled(feed)
        await heard(feed, faulty, None)


async def test_a_change_while_cut_off_is_signalled_afterwards(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """Cut and refused, the feed is not live and says nothing; back again, it signals what was missed."""
    async with faulty.watch(A) as feed:
        await signalled(feed)
        wire.deaf = True
        wire.cut()
        async with asyncio.timeout(PATIENCE_S):
            while len(wire.listens) < 3:  # noqa: ASYNC110 - a wire announces nothing
                await asyncio.sleep(0.01)
        assert not feed.is_live
        await other.commit([Set(A, {"n": 1})])
        wire.deaf = False
        await signalled(feed)
        assert feed.is_live
        await heard(feed, faulty, {"n": 1})


async def test_every_cut_is_survived(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """Cut again and again between the writes of another, the last state is heard of."""
    async with faulty.watch(A) as feed:
        await signalled(feed)
        for n in range(10):
            await other.commit([Set(A, {"n": n})])
            if n % 3 == 0:
                wire.cut()
        await heard(feed, faulty, {"n": 9})


async def test_a_stream_resumes_where_it_was(faulty: FirestoreStore, wire: FaultyConnection) -> None:
    """The next stream names the last one's token, so that nothing unchanged is sent and paid again."""
    async with faulty.watch(A) as feed:
        await signalled(feed)
        await asyncio.sleep(0.1)
        wire.cut()
        await signalled(feed)
        assert wire.listens[0].add_target.resume_token == b""
        assert wire.listens[1].add_target.resume_token != b""


async def test_leaving_ends_the_stream(faulty: FirestoreStore, wire: FaultyConnection) -> None:
    """Nobody listens for a feed that nobody holds."""
    async with faulty.watch(A) as feed:
        await signalled(feed)
        assert len(wire._streams) == 1
    assert len(wire._streams) == 0


async def test_nothing_waits_for_a_stream_that_stalls(
    faulty: FirestoreStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """A stream that says nothing makes a feed that is not live; calls, the loop and closing go on."""
    wire.mute = True
    async with faulty.watch(A) as feed:
        await other.commit([Set(A, {"n": 1})])
        found = await faulty.get(A)
        assert found is not None
        assert not feed.is_live
        await faulty.close()
