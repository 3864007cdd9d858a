"""Items that may be what kills workers: made one at a time in a process, and at last not at all.

A worker that dies leaves announcements of the calls that were out. One of those items may be why; most are
not. An item that was out twice is suspected, and from then on is out alone among the suspected, so that the
next death tells the guilty from the others. One that was out at `POISON_AFTER` deaths is poison: it fails,
and nothing else does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from parallel_processor.jobs.piece import Piece, PieceError

SUSPECT_AFTER = 2
"""A death takes all items that are out with it; the same item out at two may be chance."""

POISON_AFTER = 5
"""Workers are also killed for other reasons: by then, that one item was out each time is no chance."""


class Quarantine:
    """Makes suspected items, one at a time. Its mutable state: whether one is being made."""

    def __init__(self) -> None:
        self._alone = asyncio.Lock()

    async def make(
        self, deaths: int, make: Callable[[], Coroutine[Any, Any, Piece | PieceError]]
    ) -> Piece | PieceError:
        """Make an item that was out at so many deaths of workers."""
        if deaths >= POISON_AFTER:
            words = f"{deaths} workers were lost while this item's call was out"
            return PieceError("POISON_ITEM", words)
        if deaths < SUSPECT_AFTER:
            return await make()
        async with self._alone:
            return await make()
