"""A wire between services and a database, which a test can slow down, thin to a trickle, or cut.

    with wire_to("127.0.0.1:8080") as wire:
        ...  # services connect to wire.host
        wire.slow(delay_s=0.3, jitter_s=0.3)
        wire.cut()
        wire.mend()

It forwards bytes and knows no protocol. Answers are slowed, requests never: what was asked is done, and what
came of it is told late or, when the wire is cut meanwhile, not at all.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 64 * 1024
_TICK_S = 0.05
"""How often a trickle lets a few bytes through."""


class Wire:
    """A TCP proxy on a thread of its own; `wire_to` makes one and ends it.

    Attributes:
        host: What to connect to instead of the database.
    """

    def __init__(self, target: str) -> None:
        """Prepare; nothing listens yet.

        Args:
            target: Address of the database. It may go away and come back.
        """
        self.host = ""
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._delay_s = self._jitter_s = 0.0
        self._bytes_per_tick = _CHUNK_BYTES

    def slow(self, *, delay_s: float, jitter_s: float = 0.0) -> None:
        """Hold every answer back for a while: `delay_s`, and up to `jitter_s` more."""
        self._delay_s, self._jitter_s = delay_s, jitter_s

    def trickle(self, *, bytes_per_s: int) -> None:
        """Let no more bytes of answers through than this, on each connection."""
        self._bytes_per_tick = max(1, int(bytes_per_s * _TICK_S))

    def cut(self) -> None:
        """End all connections, and every new one at once, until `mend`; returns when none is left."""
        self._run(self._cut)

    def mend(self) -> None:
        """Let everything through again, at full speed."""
        self._is_cut = False
        self._delay_s = self._jitter_s = 0.0
        self._bytes_per_tick = _CHUNK_BYTES

    def start(self) -> threading.Thread:
        """Listen on a free port of loopback."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop
        )
        self.host = f"127.0.0.1:{listening.result().sockets[0].getsockname()[1]}"
        return thread

    def stop(self) -> None:
        """Cut everything and let the thread end."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, change: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(change)
        self._loop.call_soon_threadsafe(done.set)
        done.wait()

    def _cut(self) -> None:
        self._is_cut = True
        for each in self._open:
            each.transport.abort()
        self._open.clear()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        ends = {to_client}
        self._open.add(to_client)
        with suppress(OSError):  # the database is away: the client finds its connection closed
            if not self._is_cut:
                database, to_database = await asyncio.open_connection(*self._target.split(":"))
                ends.add(to_database)
                self._open.add(to_database)
                pumps = asyncio.gather(
                    self._requests(client, to_database), self._answers(database, to_client)
                )
                with suppress(OSError):
                    await pumps
                pumps.cancel()
        for each in ends:
            self._open.discard(each)
            each.transport.abort()

    async def _requests(self, client: asyncio.StreamReader, to_database: asyncio.StreamWriter) -> None:
        while some := await client.read(_CHUNK_BYTES):
            to_database.write(some)
            await to_database.drain()
        raise ConnectionResetError  # either end's end is the end of both

    async def _answers(self, database: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while some := await database.read(self._bytes_per_tick):
            is_thin = self._bytes_per_tick < _CHUNK_BYTES
            pause_s = self._delay_s + random.uniform(0, self._jitter_s) + _TICK_S * is_thin
            if pause_s:
                await asyncio.sleep(pause_s)
            to_client.write(some)
            await to_client.drain()
        raise ConnectionResetError


@contextmanager
def wire_to(target: str) -> Iterator[Wire]:
    """Yield a wire to an address for as long as the context lasts."""
    wire = Wire(target)
    thread = wire.start()
    try:
        yield wire
    finally:
        wire.stop()
        thread.join()
