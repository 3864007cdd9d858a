"""Whether two stores hold the same documents: both are read whole, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from service_common.storage.migrating.patience import Patience
from service_common.storage.migrating.progress import Progress
from service_common.storage.migrating.reading import Living, tally
from service_common.storage.migrating.scan import Scan
from service_common.storage.migrating.tally import Tally
from service_common.storage.shapes import Schema


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both sides add up to, by collection.

    Attributes:
        source: Of the one.
        target: Of the other.
    """

    source: Mapping[str, Tally]
    target: Mapping[str, Tally]

    def differing(self) -> list[str]:
        """Return the collections that are not the same."""
        return [name for name, each in self.source.items() if not each.equals(self.target[name])]


async def compare(
    source: Scan, target: Scan, schema: Schema, living: Living, *, patience: Patience, progress: Progress
) -> Comparison:
    """Add up both sides.

    Args:
        source: The one.
        target: The other.
        schema: What is stored.
        living: Which documents count on either side.
        patience: Waits while one is away.
        progress: Shows how far the slower one is.
    """
    counts = [0, 0]

    def seen(side: int, documents: int) -> None:
        counts[side] += documents
        progress.documents = min(counts)

    async with asyncio.TaskGroup() as group:
        ours = group.create_task(tally(source, schema, living, patience=patience, seen=partial(seen, 0)))
        theirs = group.create_task(tally(target, schema, living, patience=patience, seen=partial(seen, 1)))
    return Comparison(ours.result(), theirs.result())
