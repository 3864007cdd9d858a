"""Documents from a scan into a store, several commits in flight; what is said to be stored is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, invalid_field
from service_common.storage.documents import MAX_WRITES, Delete, Key, Set
from service_common.storage.encoding import unpack
from service_common.storage.migrating.patience import Patience
from service_common.storage.migrating.reading import Living
from service_common.storage.migrating.scan import Stored
from service_common.storage.store import DocumentStore

IN_FLIGHT = 4
"""Commits under way at once."""

BATCH_BYTES = 1024 * 1024
"""Most bytes of documents in one commit, unless one is larger: a slow line carries it in a call's time."""

SAVE_EVERY_S = 1.0
"""How often the place is kept at most; a run that was killed repeats about so much."""

Save = Callable[[Key], Awaitable[None]]


def batches(page: Sequence[Stored]) -> Iterator[list[Stored]]:
    """Yield a page in parts that one commit can carry, in order."""
    batch: list[Stored] = []
    size = 0
    for each in page:
        if batch and (len(batch) == MAX_WRITES or size + len(each.packed) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.packed)
    if batch:
        yield batch


class Copier:
    """Copies pages. Every write may be repeated: it sets a whole document, whatever is there.

    Args:
        target: Where documents go.
        living: Which of them.
        patience: Waits while the target is away.
        clock: Says when the place is kept.
        save: Keeps a key up to which all is stored.
        copied: Is told how many documents are done with, in order.
    """

    def __init__(
        self,
        target: DocumentStore,
        living: Living,
        *,
        patience: Patience,
        clock: Clock,
        save: Save,
        copied: Callable[[int], None],
    ) -> None:
        self._target = target
        self._living = living
        self._patience = patience
        self._clock = clock
        self._save = save
        self._copied = copied
        self._saved_at = float("-inf")

    async def copy(self, pages: AsyncIterator[list[Stored]]) -> None:
        """Store all that the pages hold, and keep the last place."""
        under_way: deque[tuple[list[Stored], asyncio.Task[None]]] = deque()
        last: Key | None = None
        try:
            async for page in pages:
                for batch in batches(page):
                    under_way.append((batch, asyncio.create_task(self._copy(batch))))
                    while len(under_way) >= IN_FLIGHT:
                        last = await self._settle(under_way)
                    await self._save_sometimes(last)
            while under_way:
                last = await self._settle(under_way)
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        if last is not None:
            await self._save(last)

    async def remove(self, keys: Sequence[Key]) -> None:
        """Remove documents from the target."""
        for start in range(0, len(keys), MAX_WRITES):
            writes = [Delete(key) for key in keys[start : start + MAX_WRITES]]
            await self._patience.until_done(lambda writes=writes: self._target.commit(writes))  # type: ignore[misc]  # mypy infers no lambda with a default
            self._copied(len(writes))

    async def _settle(self, under_way: deque[tuple[list[Stored], asyncio.Task[None]]]) -> Key:
        """Wait for the oldest commit: all before its last key are stored then."""
        batch, task = under_way[0]
        await task
        under_way.popleft()
        self._copied(len(batch))
        return batch[-1].key

    async def _save_sometimes(self, last: Key | None) -> None:
        now = self._clock.monotonic()
        if last is not None and now - self._saved_at >= SAVE_EVERY_S:
            self._saved_at = now
            await self._save(last)

    async def _copy(self, batch: Sequence[Stored]) -> None:
        if living := [each for each in batch if self._living.has(each)]:
            await self._set(living)

    async def _set(self, documents: Sequence[Stored]) -> None:
        writes = [Set(each.key, unpack(each.packed)) for each in documents]
        try:
            await self._patience.until_done(lambda: self._target.commit(writes))
        except ServiceError as error:
            if error.kind is not ErrorKind.INVALID_ARGUMENT:
                raise
            if len(documents) == 1:
                raise _refused(documents[0].key, error) from error
            # Too many index entries for one commit, or one document is at fault: then it is found so.
            middle = len(documents) // 2
            await self._set(documents[:middle])
            await self._set(documents[middle:])


def _refused(key: Key, error: ServiceError) -> ServiceError:
    return invalid_field(f"document {key.id!r} of {key.collection!r}", f"is refused: {error.message}")
