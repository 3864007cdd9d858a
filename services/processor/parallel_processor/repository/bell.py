"""The bell: one document, over all tenants, that is written when shards can be claimed at once."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from service_common.storage import DocumentStore, Feed, Set

from parallel_processor.repository import schema


class BellRepository:
    """Writes and watches the bell."""

    def __init__(self, store: DocumentStore, *, worker: str) -> None:
        """Prepare to ring.

        Args:
            store: Where the bell is.
            worker: Who rings, for people who look at it.
        """
        self._store = store
        self._worker = worker

    async def ring(self) -> None:
        """Write the bell; it neither reads nor requires anything, so rings never conflict."""
        await self._store.commit([Set(schema.BELL_KEY, {"rung_by": self._worker})])

    def watch(self) -> AbstractAsyncContextManager[Feed]:
        """Return a context in which a feed of the bell is kept going."""
        return self._store.watch(schema.BELL_KEY)
