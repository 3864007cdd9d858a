"""Makes the durable tier follow memory, a moment behind and in batches.

Only the keys that changed are queued; what is written is what memory holds when the batch leaves. So the
queue is small, a key that changes often is written once, and repeating a batch never brings back old content.

A batch gathers for `interval_s` however slowly changes come, and what comes while it is written waits for the
next: a store is paid by the document, and a document carries hundreds of changes.

Loss window: a crash loses what changed in the last `interval_s`, plus the commits under way, and while the
store is away what changed since then. When more than `max_pending` keys wait, the oldest are given up and
counted: such a change is not durable, and after a crash the key may come back as it was before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import structlog
from service_common.errors import ErrorKind, ServiceError

from content_cache.entry import Address, Entry
from content_cache.repository.entries import Change, EntryRepository, fits_one_commit

_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 5.0
_log = structlog.get_logger("content_cache.durability.write_behind")


@dataclass(slots=True)
class WriteCounts:
    """What became of the changes so far.

    Attributes:
        written: Changes stored.
        failed_commits: Batches the store did not take; they are repeated.
        dropped: Changes given up: too many were waiting, or the store can never take them.
    """

    written: int = 0
    failed_commits: int = 0
    dropped: int = 0


class WriteBehind:
    """The queue of changed keys and the loop that empties it.

    Attributes:
        counts: What became of the changes so far.
    """

    def __init__(
        self,
        repository: EntryRepository,
        held: Callable[[Address], Entry | None],
        *,
        interval_s: float,
        max_pending: int,
    ) -> None:
        """Prepare the queue.

        Args:
            repository: Where changes go.
            held: Tells what memory holds under a key.
            interval_s: How long changes gather before they are written.
            max_pending: Most keys that wait.
        """
        self.counts = WriteCounts()
        self._repository = repository
        self._held = held
        self._interval_s = interval_s
        self._max_pending = max_pending
        # Changed keys, oldest first, and whether what left was served: only such a removal must be written.
        self._pending: dict[Address, bool] = {}
        self._under_way = 0
        self._noted = asyncio.Event()

    def __len__(self) -> int:
        """Return how many changes the store does not have yet, those on their way included."""
        return len(self._pending) + self._under_way

    def note(self, address: Address, before: Entry | None) -> None:
        """Queue a key whose entry changed; `before` is what was there."""
        removed = before is not None and self._repository.is_served(before)
        self._queue(address, removed=removed)

    def remove(self, address: Address) -> None:
        """Queue the removal of an entry that only the store has."""
        self._queue(address, removed=True)

    async def run(self) -> None:
        """Write changes as they come, for ever; a store that is away is tried again."""
        delay_s = _FIRST_RETRY_S
        while True:
            await self._noted.wait()
            await asyncio.sleep(self._interval_s)
            try:
                await self._flush(len(self._pending))
                delay_s = _FIRST_RETRY_S
            except ServiceError as error:
                _log.warning("write_failed", reason=error.reason, pending=len(self), retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)

    async def flush(self) -> None:
        """Write until nothing waits.

        Raises:
            ServiceError: If the store does not take a batch; its changes wait on.
        """
        while self._pending:
            await self._flush(len(self._pending))

    async def _flush(self, count: int) -> None:
        """Write the `count` that wait longest."""
        while count > 0 and self._pending:
            changes = self._take(count)
            count -= len(changes)
            self._under_way += len(changes)
            try:
                await self._write(changes)
            except BaseException:
                self._put_back(changes)
                raise
            finally:
                self._under_way -= len(changes)
        if not self._pending:
            self._noted.clear()

    async def _write(self, changes: list[Change]) -> None:
        try:
            await self._repository.write(changes)
        except ServiceError as error:
            self.counts.failed_commits += 1
            if error.kind is not ErrorKind.INVALID_ARGUMENT:
                raise
            await self._write_apart(changes, error)
        else:
            self.counts.written += len(changes)

    async def _write_apart(self, changes: list[Change], error: ServiceError) -> None:
        """Keep one change the store can never take from holding up the others."""
        if len(changes) == 1:
            self.counts.dropped += 1
            _log.error("change_refused", reason=error.reason, error=error.message)
            return
        middle = len(changes) // 2
        await self._write(changes[:middle])
        await self._write(changes[middle:])

    def _queue(self, address: Address, *, removed: bool) -> None:
        self._pending[address] = removed or self._pending.get(address, False)
        self._give_up_excess()
        self._noted.set()

    def _give_up_excess(self) -> None:
        while len(self._pending) > self._max_pending:
            del self._pending[next(iter(self._pending))]
            self.counts.dropped += 1

    def _take(self, count: int) -> list[Change]:
        changes: list[Change] = []
        size = 0
        for address, removed in islice(self._pending.items(), count):
            entry = self._held(address)
            size += len(address.key) + (len(entry.encoded) if entry is not None else 0)
            if changes and not fits_one_commit(len(changes) + 1, size):
                break
            changes.append(Change(address, entry, removed))
        for change in changes:
            del self._pending[change.address]
        return changes

    def _put_back(self, changes: list[Change]) -> None:
        waiting = self._pending
        self._pending = {each.address: each.removed for each in changes}
        for address, removed in waiting.items():
            self._pending[address] = removed or self._pending.get(address, False)
        self._give_up_excess()
