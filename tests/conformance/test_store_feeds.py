"""The sentences of `Feed`'s contract, each against every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import (
    Create,
    Decision,
    Delete,
    Document,
    DocumentStore,
    Feed,
    Key,
    Set,
    Update,
    Write,
)

A = Key("things", "acme", "a")
B = Key("things", "acme", "b")
PATIENCE_S = 30.0


async def signalled(feed: Feed) -> None:
    """Take the next signal."""
    async with asyncio.timeout(PATIENCE_S):
        await feed.changed()


async def silent(feed: Feed) -> None:
    """Take signals until none has come for a while: some need not stand for a change."""
    while True:
        try:
            async with asyncio.timeout(0.3):
                await feed.changed()
        except TimeoutError:
            return


def raised(found: Sequence[Document | None]) -> Decision[None]:
    """Write what was read."""
    assert found[0] is not None
    return Decision(None, [Set(A, {**found[0].data, "raised": True})])


async def test_the_first_signal_comes_when_it_is_live(store: DocumentStore) -> None:
    """Entering does not wait; with the first signal the feed is live, of an absent document too."""
    async with store.watch(A) as feed:
        await signalled(feed)
        assert feed.is_live


async def test_every_kind_of_write_is_signalled_and_then_visible(store: DocumentStore) -> None:
    """Creation, change, removal, return and transactions: after the signal a read sees it."""
    writes: list[Write] = [
        Create(A, {"n": 1}),
        Set(A, {"n": 1}),
        Update(A, {"n": 2}),
        Delete(A),
        Set(A, {"n": 3}),
    ]
    async with store.watch(A) as feed:
        await signalled(feed)
        await silent(feed)
        for write in writes:
            await store.commit([Set(B, {}), write])
            await signalled(feed)
            found = await store.get(A)
            assert (found is None) == isinstance(write, Delete)
            await silent(feed)
        await store.transact([A], raised)
        await signalled(feed)


async def test_who_reads_after_each_signal_ends_with_the_latest_state(store: DocumentStore) -> None:
    """However signals and writes interleave, the last write is seen."""

    async def write() -> None:
        for n in range(50):
            await store.commit([Set(A, {"n": n})])

    seen: list[Any] = []
    async with store.watch(A) as feed:
        writing = asyncio.create_task(write())
        while not seen or seen[-1] != 49:
            await signalled(feed)
            found = await store.get(A)
            if found is not None:
                seen.append(found.data["n"])
        await writing
    assert seen == sorted(seen)


async def test_every_feed_is_signalled(store: DocumentStore) -> None:
    """Feeds of one document do not take each other's signals, and those of two documents hear their own."""
    async with store.watch(A) as one, store.watch(A) as two, store.watch(B) as three:
        for feed in (one, two, three):
            await signalled(feed)
            await silent(feed)
        await store.commit([Set(A, {})])
        await signalled(one)
        await signalled(two)
        await store.commit([Set(B, {})])
        await signalled(three)


async def test_a_feed_outlives_its_neighbours(store: DocumentStore) -> None:
    """Leaving one context ends that feed and no other."""
    async with store.watch(A) as kept:
        async with store.watch(A) as left:
            await signalled(left)
        assert not left.is_live
        await signalled(kept)
        await silent(kept)
        await store.commit([Set(A, {})])
        await signalled(kept)
        assert kept.is_live


async def test_a_cancelled_wait_takes_no_signal(store: DocumentStore) -> None:
    """Whoever gives up waiting has not used up the signal that comes afterwards."""
    async with store.watch(A) as feed:
        await signalled(feed)
        await silent(feed)
        waiting = asyncio.create_task(feed.changed())
        await asyncio.sleep(0)
        waiting.cancel()
        await store.commit([Set(A, {})])
        await signalled(feed)


async def test_expiry_is_not_a_change(store: DocumentStore, clock: ManualClock) -> None:
    """A document that expires is absent without a signal; what is written afterwards is signalled."""
    lease = Key("leases", "acme", "one")
    async with store.watch(lease) as feed:
        await signalled(feed)
        await store.commit([Set(lease, {"expire_time": clock.now()})])
        await signalled(feed)
        await silent(feed)
        assert await store.get(lease) is None
        await store.commit([Create(lease, {})])
        await signalled(feed)


async def test_a_closed_store_ends_the_wait(store: DocumentStore) -> None:
    """Whoever waits is told, as is who watches afterwards: UNAVAILABLE."""
    async with store.watch(A) as feed:
        await signalled(feed)
        await silent(feed)
        waiting = asyncio.create_task(feed.changed())
        await asyncio.sleep(0)
        await store.close()
        for call in (waiting, feed.changed()):
            with pytest.raises(ServiceError) as caught:
                await call
            assert (caught.value.kind, caught.value.reason) == (ErrorKind.UNAVAILABLE, "STORE_CLOSED")
        assert not feed.is_live
    with pytest.raises(ServiceError) as caught:
        async with store.watch(A):
            pass
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_an_undeclared_collection_cannot_be_watched(store: DocumentStore) -> None:
    """The service is at fault: INTERNAL."""
    with pytest.raises(ServiceError) as caught:
        async with store.watch(Key("others", "acme", "a")):
            pass
    assert caught.value.kind is ErrorKind.INTERNAL
