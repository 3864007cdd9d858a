"""Feeds as a store drives them: signals that run together, and what keeps one going in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from service_common.errors import unavailable
from service_common.storage.documents import Key


class DocumentFeed:
    """A `Feed`. Its mutable state: whether it is live or closed, and whether a signal waits to be taken."""

    __slots__ = ("_is_closed", "_is_live", "_signal")

    def __init__(self) -> None:
        self._is_live = False
        self._is_closed = False
        self._signal = asyncio.Event()

    @property
    def is_live(self) -> bool:
        """Whether changes are signalled as they happen."""
        return self._is_live

    @property
    def is_closed(self) -> bool:
        """Whether the store was closed."""
        return self._is_closed

    async def changed(self) -> None:
        """Wait for a signal and take it."""
        await self._signal.wait()
        if self._is_closed:
            raise unavailable("STORE_CLOSED", "the store is closed")
        self._signal.clear()

    def signal(self) -> None:
        """Say that the document may have changed."""
        self._signal.set()

    def connected(self) -> None:
        """Be live from now on, and signal: nobody knows what has happened before."""
        self._is_live = not self._is_closed
        self._signal.set()

    def lost(self) -> None:
        """Be live no longer."""
        self._is_live = False

    def close(self) -> None:
        """End for good; whoever waits is told."""
        self._is_live = False
        self._is_closed = True
        self._signal.set()


class Feeds:
    """The feeds of one store that are open. Its mutable state: those, by the document they are of."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[Key, set[DocumentFeed]] = {}

    @contextmanager
    def open(self, key: Key) -> Iterator[DocumentFeed]:
        """Yield a new feed, which is told of the document's writes for as long as the context lasts."""
        feed = DocumentFeed()
        self._open.setdefault(key, set()).add(feed)
        try:
            yield feed
        finally:
            feed.lost()
            of_key = self._open[key]
            of_key.discard(feed)
            if not of_key:
                del self._open[key]

    def concerned(self, keys: Iterable[Key]) -> list[Key]:
        """Return those of the keys that somebody watches."""
        return [key for key in keys if key in self._open] if self._open else []

    def signal(self, keys: Iterable[Key]) -> None:
        """Say to all whom it concerns that these documents may have changed."""
        for key in self.concerned(keys):
            for feed in self._open[key]:
                feed.signal()

    def close(self) -> None:
        """End all of them."""
        for feeds in self._open.values():
            for feed in feeds:
                feed.close()


@asynccontextmanager
async def driven(feed: DocumentFeed, work: Coroutine[Any, Any, None]) -> AsyncIterator[DocumentFeed]:
    """Let `work` drive the feed for as long as the context lasts; a feed whose work has ended is not live."""

    async def drive() -> None:
        try:
            await work
        finally:
            feed.lost()

    task = asyncio.create_task(drive(), name="feed")
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
