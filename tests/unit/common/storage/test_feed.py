"""Feeds as backends drive them: signals run together, being live again is one, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from service_common.errors import ServiceError, unavailable
from service_common.storage import Key
from service_common.storage.feed import DocumentFeed, Feeds, driven
from service_common.storage.sqlite.following import follow

A = Key("things", "acme", "a")
B = Key("things", "acme", "b")


async def pending(feed: DocumentFeed) -> bool:
    """Take a signal if there is one."""
    try:
        async with asyncio.timeout(0):
            await feed.changed()
    except TimeoutError:
        return False
    return True


async def test_signals_run_together() -> None:
    """However many there were, all that nobody took are one."""
    feed = DocumentFeed()
    for _ in range(10):
        feed.signal()
    assert await pending(feed)
    assert not await pending(feed)


async def test_becoming_live_is_a_signal_and_being_lost_is_none() -> None:
    """What was missed meanwhile is signalled when the feed is live again."""
    feed = DocumentFeed()
    feed.connected()
    assert (feed.is_live, await pending(feed)) == (True, True)
    feed.lost()
    assert (feed.is_live, await pending(feed)) == (False, False)
    feed.connected()
    assert (feed.is_live, await pending(feed)) == (True, True)


async def test_a_closed_feed_never_lives_again() -> None:
    """A backend that has not noticed yet does not bring it back; every wait ends."""
    feed = DocumentFeed()
    feed.close()
    feed.connected()
    assert not feed.is_live
    for _ in range(2):
        with pytest.raises(ServiceError):
            await feed.changed()


async def test_only_whom_it_concerns_is_signalled() -> None:
    """A write signals the feeds of its document while they are open, and nobody's else."""
    feeds = Feeds()
    with feeds.open(A) as one, feeds.open(B) as other:
        assert feeds.concerned([B, Key("things", "acme", "c")]) == [B]
        feeds.signal([A])
        assert await pending(one)
        assert not await pending(other)
    assert feeds.concerned([A, B]) == []


async def test_a_feed_whose_work_has_failed_is_not_live() -> None:
    """Whoever relies on `is_live` falls back to asking, whatever ended the work."""
    feed = DocumentFeed()

    async def work() -> None:
        feed.connected()
        await asyncio.sleep(0)
        raise ValueError("unexpected")

    async with driven(feed, work()):
        await feed.changed()
        assert feed.is_live
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not feed.is_live


class File:
    """A document's version in a file that may be out of reach."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.away = False

    async def read(self) -> int | None:
        """Return the version."""
        if self.away:
            raise unavailable("STORE_BUSY", "busy")
        return self.version


async def test_a_file_out_of_reach_makes_its_feed_wait() -> None:
    """Not live while it cannot be read; live and signalled when it can; every other version is a signal."""
    file, feed, written = File(), DocumentFeed(), DocumentFeed()

    async def looked() -> None:
        written.signal()
        for _ in range(5):
            await asyncio.sleep(0)

    async with driven(feed, follow(feed, written, file.read)):
        await looked()
        assert (feed.is_live, await pending(feed)) == (True, True)
        for version in (7, None, 9):
            file.version = version
            await looked()
            assert await pending(feed)
            await looked()
            assert not await pending(feed)
        file.away, file.version = True, 10
        await looked()
        assert (feed.is_live, await pending(feed)) == (False, False)
        file.away = False
        await looked()
        assert (feed.is_live, await pending(feed)) == (True, True)
