"""An optimizer learns of changes as it is told of them, and asks by itself while it would not be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.following import SAFETY_S, Follower
from prompt_optimizer.templates.stored import StoredTemplate
from service_common.clock import ManualClock
from service_common.errors import unavailable

OFTEN_S = 0.001
NEVER_S = 3_600.0


class Stored:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    async def changed_since(self, revision: int) -> tuple[list[StoredTemplate], int]:
        """Tell of no change."""
        self.asked += 1
        if self.away:
            raise unavailable("AWAY", "away")
        return [], revision


class Feed:
    """A feed that the test drives; counts how often somebody began to wait."""

    def __init__(self, *, is_live: bool) -> None:
        self.is_live = is_live
        self.waits = 0
        self.signals: asyncio.Queue[None] = asyncio.Queue()

    async def changed(self) -> None:
        """Wait for a signal."""
        self.waits += 1
        await self.signals.get()


async def until(feed: Feed, stored: Stored, *, waits: int = 0, asked: int = 0) -> None:
    """Wait until there have been so many waits and questions."""
    async with asyncio.timeout(10):
        while feed.waits < waits or stored.asked < asked:  # noqa: ASYNC110 - a fake announces nothing
            await asyncio.sleep(0.001)


@contextmanager
def following(
    stored: Stored, feed: Feed, clock: ManualClock, *, interval_s: float = OFTEN_S
) -> Iterator[None]:
    """Follow meanwhile."""
    follower = Follower(cast("Any", stored), Catalogue([]), clock=clock)
    task = asyncio.create_task(follower.follow(feed, interval_s=interval_s))
    try:
        yield
    finally:
        task.cancel()


async def test_a_signal_is_followed_at_once() -> None:
    """However long the interval is."""
    stored, feed = Stored(), Feed(is_live=True)
    with following(stored, feed, ManualClock(), interval_s=NEVER_S):
        for asked in (1, 2):
            feed.signals.put_nowait(None)
            await until(feed, stored, asked=asked)


async def test_while_it_would_be_told_it_asks_for_safety_only() -> None:
    """A live feed makes asking rare; a connection that died without a word costs `SAFETY_S` at most."""
    stored, feed, clock = Stored(), Feed(is_live=True), ManualClock()
    with following(stored, feed, clock):
        feed.signals.put_nowait(None)
        await until(feed, stored, asked=1)
        clock.advance(SAFETY_S - 0.001)
        await until(feed, stored, waits=feed.waits + 5)
        assert stored.asked == 1
        clock.advance(0.001)
        await until(feed, stored, asked=2)
        await until(feed, stored, waits=feed.waits + 5)
        assert stored.asked == 2


async def test_while_it_would_not_be_told_it_asks_every_interval() -> None:
    """Without a feed it is as good as before there was one."""
    stored, feed = Stored(), Feed(is_live=False)
    with following(stored, feed, ManualClock()):
        await until(feed, stored, asked=5)


async def test_a_question_that_failed_is_repeated_after_the_interval() -> None:
    """The signal was taken, so the change must not wait for the next one."""
    stored, feed = Stored(), Feed(is_live=True)
    with following(stored, feed, ManualClock()):
        feed.signals.put_nowait(None)
        await until(feed, stored, asked=1)
        stored.away = True
        feed.signals.put_nowait(None)
        await until(feed, stored, asked=4)
        stored.away = False
        await until(feed, stored, asked=stored.asked + 1)
        asked = stored.asked
        await until(feed, stored, waits=feed.waits + 5)
        assert stored.asked == asked
