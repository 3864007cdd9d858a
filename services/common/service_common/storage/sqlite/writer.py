"""The one thread that writes to a SQLite file: whatever is queued when it looks is committed as one group.

Operations of a group are staged one after another, each whole or not at all, and stored together. If storing
the group fails, each operation is tried by itself, so that none fails for its neighbour's sake.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from service_common.clock import Clock
from service_common.errors import unavailable
from service_common.frozen import dataclass
from service_common.storage.documents import Key
from service_common.storage.indexing import IndexPlan
from service_common.storage.ordering import microseconds
from service_common.storage.sqlite import rows as sqlite_rows
from service_common.storage.sqlite.file import (
    BUSY_ATTEMPTS,
    Connect,
    as_service_error,
    connect_for_writing,
    is_busy,
    is_full,
    when_free,
)
from service_common.storage.staging import Staging

MAX_GROUP = 256
MAX_GROUP_KEYS = 4000


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation is handed when its turn comes."""

    connection: sqlite3.Connection
    staging: Staging
    now: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A queued operation.

    Attributes:
        keys: What it will most likely touch; loaded for the whole group at once.
        run: Stages its writes and returns its result.
        future: Where its caller waits.
    """

    keys: Sequence[Key]
    run: Callable[[Step], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    operation: Operation
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Answer the caller, on its loop; one that no longer waits is left alone."""
        future = self.operation.future
        if future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        elif isinstance(self.error, StopIteration):
            # A future refuses it: inside a coroutine it would mean something else.
            future.set_exception(RuntimeError("the decision raised StopIteration"))
        else:
            future.set_exception(self.error)


class SqliteWriter:
    """Owns the writing connection and its thread.

    Args:
        path: The file, prepared.
        plan: The schema's plan.
        clock: Decides what is expired.
        connect_to: Opens connections.
        on_commit: Called in the writer's thread with the keys of what was stored.
        busy_attempts: How often a locked file is tried.
    """

    def __init__(
        self,
        path: Path,
        plan: IndexPlan,
        *,
        clock: Clock,
        connect_to: Connect,
        on_commit: Callable[[Collection[Key]], None],
        busy_attempts: int = BUSY_ATTEMPTS,
    ) -> None:
        self._path = path
        self._plan = plan
        self._clock = clock
        self._connect_to = connect_to
        self._on_commit = on_commit
        self._busy_attempts = busy_attempts
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._lock = Lock()
        self._is_closed = False
        self._connection: sqlite3.Connection | None = None
        self._thread = Thread(target=self._work, name=f"store-writer-{path.name}", daemon=True)
        self._thread.start()

    async def run(self, keys: Sequence[Key], run: Callable[[Step], Any]) -> Any:
        """Queue an operation and return its result once it is stored."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._is_closed:
                raise unavailable("STORE_CLOSED", "the store is closed")
            self._queue.put(Operation(keys, run, future))
        return await future

    def close(self) -> None:
        """Finish what is queued and release the file; blocks meanwhile."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while group := self._next_group():
            _answer(self._outcomes(group))
        self._disconnect()

    def _next_group(self) -> list[Operation]:
        """Return what is queued, after waiting for the first; empty when closed."""
        group: list[Operation] = []
        keys = 0
        while len(group) < MAX_GROUP and keys < MAX_GROUP_KEYS:
            if group and self._queue.empty():
                break
            operation = self._queue.get()
            if operation is None:
                if group:
                    self._queue.put(None)
                break
            group.append(operation)
            keys += len(operation.keys)
        return group

    def _outcomes(self, group: list[Operation]) -> list[_Outcome]:
        try:
            return self._commit(group)
        except sqlite3.Error as error:
            if not is_busy(error) and not is_full(error):
                self._disconnect()
            if len(group) > 1 and not is_busy(error):
                return [outcome for operation in group for outcome in self._outcomes([operation])]
            translated = as_service_error(error, self._path)
            translated.__cause__ = error
            return [_Outcome(operation, error=translated) for operation in group]
        except Exception as error:  # noqa: BLE001 - the thread must live on; the callers get the error
            return [_Outcome(operation, error=error) for operation in group]

    def _commit(self, group: list[Operation]) -> list[_Outcome]:
        connection = self._connected()
        when_free(lambda: connection.execute("BEGIN IMMEDIATE"), self._busy_attempts)
        try:
            staging = self._staging(connection, group)
            outcomes = [self._stage(operation, connection, staging) for operation in group]
            if staging.changed:
                sqlite_rows.flush(connection, staging)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        self._on_commit(staging.changed)
        return outcomes

    def _staging(self, connection: sqlite3.Connection, group: list[Operation]) -> Staging:
        staging = Staging(
            self._plan,
            sqlite_rows.counter(connection, self._plan),
            lambda keys: sqlite_rows.load(connection, keys),
        )
        staging.load(key for operation in group for key in operation.keys)
        return staging

    def _stage(self, operation: Operation, connection: sqlite3.Connection, staging: Staging) -> _Outcome:
        try:
            step = Step(connection, staging, microseconds(self._clock.now()))
            return _Outcome(operation, result=operation.run(step))
        except sqlite3.Error:
            raise
        except BaseException as error:  # noqa: BLE001 - what a decision raises is its caller's to handle
            return _Outcome(operation, error=error)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect_for_writing(self._path, self._connect_to)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _answer(outcomes: list[_Outcome]) -> None:
    """Wake each loop once for all of its callers."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.operation.future.get_loop(), []).append(outcome)
    for loop, ours in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, ours)
        except RuntimeError:
            # The loop is closed: nobody is left to hear the answer.
            continue


def _settle(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        outcome.settle()
