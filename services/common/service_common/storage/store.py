"""The port through which services keep documents; its comments are the contract backends are tested for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from service_common.storage.documents import Decision, Document, Key, Write
from service_common.storage.shapes import Page, Query

T = TypeVar("T")


class Feed(Protocol):
    """Says that one document may have changed, so that who waits for it need not ask all the time.

    A signal says no more than "look now". Signals run together: all since the last one was taken are one.
    There may be signals without a change. Expiry is not a change.

    Every write of the document, its removal and its return included, by whatever process, is signalled once
    reads see it: soon while the feed is live, else when it becomes live again, which it always signals. So
    who reads after each signal ends up with the latest state. The first signal comes when the feed is first
    live.

    Outages never end a feed and never reach its user as errors: meanwhile it is not live, and it recovers by
    itself. A connection that dies without a word is found out after a minute or two, and only then is the
    feed no longer live: who must not miss a change also looks now and then.
    """

    @property
    def is_live(self) -> bool:
        """Whether changes are signalled as they happen."""
        ...

    async def changed(self) -> None:
        """Wait for a signal and take it. A cancelled wait takes none. For one waiter at a time.

        Raises:
            ServiceError: UNAVAILABLE once the store is closed.
        """
        ...


class DocumentStore(Protocol):
    """Documents by key, atomic writes, and queries of declared shapes.

    Visibility: a read that starts after a write was answered sees it, in every process that shares the store.
    Every read of several documents sees one moment.

    Expiry: a document whose collection's `ttl_field` holds a time at or before the clock's is absent: for
    reads, in transactions, and for the conditions of writes. It takes space until `sweep_expired` removes it.

    Values: documents are copies; changing what was passed in or returned changes nothing stored. Tuples
    return as lists, times as UTC, everything else equal and of the same type. A value outside the limits of
    `service_common.storage.documents` is INVALID_ARGUMENT naming the field, and nothing is written.

    Cancellation: a caller that is cancelled learns nothing: its operation may or may not happen. The store
    and its other callers are unharmed.

    Errors: ServiceError throughout. UNAVAILABLE when the backend cannot be reached, is full or too busy, or
    the store is closed: nothing of the operation was stored unless its answer was lost on the way. Except
    when closed, the store works again by itself when the condition passes. DATA_LOSS when what is stored is
    damaged. INTERNAL for collections and shapes that were not declared. FAILED_PRECONDITION when another
    process has opened the store with other declarations; only a restart helps.

    Closing: who opens closes. Safe for concurrent use by the tasks of one event loop.
    """

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None if it is absent."""
        ...

    async def get_many(self, keys: Sequence[Key]) -> list[Document | None]:
        """Return one entry per key, in the order of the keys; None where absent. Keys may repeat."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply the writes in order, all or none; when it returns they outlive the process.

        A later write sees the effect of an earlier one to the same key. Not idempotent by itself: repeat a
        commit whose fate is unknown only if its writes carry conditions or may happen twice.

        Raises:
            ServiceError: ALREADY_EXISTS, NOT_FOUND or ABORTED by the first condition that fails;
                INVALID_ARGUMENT for more than `MAX_WRITES` writes or `MAX_COMMIT_BYTES` of documents.
        """
        ...

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Read the keys, decide, and apply the decision's writes only if nothing read has changed meanwhile.

        Transactions are serialisable: the outcome is as if they had run one after another.

        Args:
            keys: What to read; `decide` receives one entry per key, in order.
            decide: Synchronous, pure and short. May be called several times, and on another thread; only the
                last call counts. What it raises reaches the caller unchanged, and nothing is written.

        Returns:
            The decision's result, once its writes are stored.

        Raises:
            ServiceError: As `commit`; ABORTED also when contention outlasts the retries.
        """
        ...

    async def query(self, query: Query) -> Page:
        """Return a page of the documents that match, in the shape's order.

        Following `next_cursor` to its end yields every document that matched all the while exactly once,
        also while others are written, removed or expire.

        Raises:
            ServiceError: INTERNAL if the shape is not declared; INVALID_ARGUMENT if the query does not fit
                its shape or the cursor is of another query.
        """
        ...

    def watch(self, key: Key) -> AbstractAsyncContextManager[Feed]:
        """Return a context in which a feed of the document is kept going; entering it does not wait.

        Made for documents that change seldom: on a hosted database each change costs every feed a read, and
        so does becoming live again. Nothing here blocks the loop.

        Raises:
            ServiceError: On entering; INTERNAL for an undeclared collection, UNAVAILABLE if closed.
        """
        ...

    async def sweep_expired(self, limit: int = 500) -> int:
        """Remove up to `limit` expired documents and return how many; call again while it returns `limit`.

        Idempotent, and safe while others write: a document renewed meanwhile stays. A backend that removes
        expired documents by itself, as Firestore does by a policy on the ttl field, leaves it to that and
        returns 0.
        """
        ...

    async def ping(self) -> None:
        """Return if the store can answer; raises UNAVAILABLE otherwise."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent; later calls are UNAVAILABLE."""
        ...
