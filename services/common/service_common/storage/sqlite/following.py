"""What keeps a feed of a SQLite document going: a file tells nobody of writes, so its version is looked at.

Writes of this process cause a look at once; those of others are found by looking five times a second, which
takes about a quarter of a percent of one core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from service_common.errors import ServiceError
from service_common.storage.feed import DocumentFeed

LOOK_S = 0.2


async def follow(
    feed: DocumentFeed, written: DocumentFeed, read_version: Callable[[], Awaitable[int | None]]
) -> None:
    """Signal whenever the version is another one, until the store is closed.

    Args:
        feed: What to drive.
        written: Signals what this process writes.
        read_version: Returns the document's version, None if there is no document.
    """
    seen: int | None = None
    while not written.is_closed:
        try:
            version = await read_version()
        except ServiceError:
            feed.lost()
        else:
            if not feed.is_live:
                feed.connected()
            elif version != seen:
                feed.signal()
            seen = version
        await _written_or_due(written)
    feed.close()


async def _written_or_due(written: DocumentFeed) -> None:
    try:
        async with asyncio.timeout(LOOK_S):
            await written.changed()
    except (TimeoutError, ServiceError):
        # Time for a look, or the store was closed.
        return
