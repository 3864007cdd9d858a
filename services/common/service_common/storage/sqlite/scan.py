"""All that a SQLite file holds, read by one thread while no other process can open the file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from service_common.errors import unavailable
from service_common.storage.documents import Key
from service_common.storage.migrating.scan import Stored
from service_common.storage.sqlite.file import as_service_error, open_alone

R = TypeVar("R")

_KEYS_PER_SELECT = 500
_PAGE = "SELECT path, data FROM documents WHERE path > ? AND path < ? ORDER BY path LIMIT ?"


class SqliteScan:
    """A `Scan` of one file. Construct with `open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._path = path
        self._connection = connection
        self._thread = thread
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteScan:
        """Open an existing file, and keep other processes from opening it.

        Raises:
            ServiceError: As `open_alone`.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"store-scan-{path.name}")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, open_alone, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connection, thread)

    async def page(self, collection: str, *, after: Key | None, limit: int) -> list[Stored]:
        """Return the next documents, ordered by tenant and id."""
        start = f"{collection}\0".encode() if after is None else after.path()
        end = f"{collection}\1".encode()
        return await self._run(lambda: self._stored(self._connection.execute(_PAGE, (start, end, limit))))

    async def find(self, keys: Iterable[Key]) -> list[Stored]:
        """Return those of the keys' documents that are stored."""
        paths = iter([each.path() for each in keys])

        def read() -> list[Stored]:
            found: list[Stored] = []
            while chunk := list(islice(paths, _KEYS_PER_SELECT)):
                places = ",".join("?" * len(chunk))
                statement = f"SELECT path, data FROM documents WHERE path IN ({places})"  # noqa: S608 - places alone
                found += self._stored(self._connection.execute(statement, chunk))
            return found

        return await self._run(read)

    async def mark(self) -> str | None:
        """Return what changes with every write: they raise the counter, or lower the count of documents."""

        def read() -> str:
            ((counter,),) = self._connection.execute("SELECT counter FROM meta").fetchall()
            ((documents,),) = self._connection.execute("SELECT count(*) FROM documents").fetchall()
            return f"{counter}.{documents}"

        return await self._run(read)

    async def close(self) -> None:
        """Let others open the file again."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._thread.shutdown(wait=False)

    async def _run(self, read: Callable[[], R]) -> R:
        if self._is_closed:
            raise unavailable("STORE_CLOSED", "the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except sqlite3.Error as error:
            raise as_service_error(error, self._path) from error

    @staticmethod
    def _stored(rows: Iterable[tuple[bytes, bytes]]) -> list[Stored]:
        return [Stored(Key.from_path(path), data) for path, data in rows]
