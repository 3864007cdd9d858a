"""Connections to one origin, kept and used again; every exchange ends with its connection idle or closed.

Redirects are not followed, no proxy is taken from the environment, and nothing is tried twice.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

from parallel_processor.model.transport.connection import Connection
from parallel_processor.model.transport.failures import BrokenError, TooLargeError, UnreachableError

_GZIP_OR_ZLIB = 47
"""`wbits` by which zlib tells the two apart itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether TLS is spoken.
    """

    host: str
    port: int
    tls: bool

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Pool:
    """A bounded pool. Its mutable state: the idle connections, the latest used last, and all open ones."""

    def __init__(
        self,
        origin: Origin,
        *,
        limit: int,
        connect_s: float,
        keep_alive_s: float,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; connects when it must.

        Args:
            origin: Where to.
            limit: The most connections, and so exchanges, at a time; further ones wait.
            connect_s: The longest to wait for a connection.
            keep_alive_s: How long an idle connection is trusted.
            trust: Whose certificates are believed; by default those the system believes.
        """
        self._origin = origin
        self._connect_s = connect_s
        self._keep_alive_s = keep_alive_s
        self._tls = (trust or ssl.create_default_context()) if origin.tls else None
        self._turns = asyncio.Semaphore(limit)
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._closed = False
        # One timer for all exchanges: the usual one ends long before, and need not set and cancel its own.
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: on CPython 3.11 every asking is a system call."""
        return asyncio.get_running_loop()

    def exchange(self, request: bytes, *, total_s: float) -> Exchange:
        """Return an exchange to be entered: it sends a request, whole with its head.

        Args:
            request: What to send.
            total_s: From now on, the longest until all of the answer is there.
        """
        return Exchange(self, request, self._loop.time() + total_s)

    def close(self) -> None:
        """Close every connection; exchanges under way break."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for connection in [*self._open]:
            connection.abort()
        self._idle.clear()
        self._open.clear()

    async def take(self, deadline: float) -> Connection:
        """Return a connection, in turn; its exchange will be given up at the deadline.

        Raises:
            UnreachableError: If there is none to be had.
            TimeoutError: Not in time.
        """
        if self._turns.locked():
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            connection = self._kept() or await self._connect(deadline)
        except BaseException:
            self._turns.release()
            raise
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, or close it."""
        self._turns.release()
        if connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.abort()
            self._open.discard(connection)

    def _kept(self) -> Connection | None:
        if self._closed:
            raise UnreachableError("the client is closed")
        too_old = self._loop.time() - self._keep_alive_s
        while self._idle and (self._idle[0].idle_since < too_old or not self._idle[0].usable):
            old = self._idle.popleft()
            old.abort()
            self._open.discard(old)
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._open.discard(connection)
        return None

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._loop.call_at(at, self._ring), at

    def _ring(self) -> None:
        """Give up the exchanges whose time has come, and see to those that are left."""
        now = self._loop.time()
        self._alarm, self._alarm_at = None, math.inf
        under_way = [each for each in self._open if not each.complete]
        for each in under_way:
            if each.deadline <= now:
                each.expire()
        earliest = min((each.deadline for each in under_way if each.deadline > now), default=None)
        if earliest is not None:
            self._set_alarm(earliest)

    async def _connect(self, deadline: float) -> Connection:
        origin = self._origin
        try:
            async with asyncio.timeout_at(min(deadline, self._loop.time() + self._connect_s)):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop),
                    origin.host,
                    origin.port,
                    ssl=self._tls,
                    server_hostname=origin.host if self._tls else None,
                )
        except (OSError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise UnreachableError(type(error).__name__) from error
        self._open.add(connection)
        return connection


class Exchange:
    """One request and its answer: `async with pool.exchange(request) as answer`.

    Leaving it before the answer is whole closes the connection, so that the other side stops working.

    Attributes:
        sent: Whether the request was handed to a connection.
    """

    __slots__ = ("_connection", "_deadline", "_pool", "_request", "sent")

    def __init__(self, pool: Pool, request: bytes, deadline: float) -> None:
        self.sent = False
        self._pool = pool
        self._request = request
        self._deadline = deadline
        self._connection: Connection

    async def __aenter__(self) -> Self:
        """Send the request and wait for the answer's head.

        Raises:
            ExchangeError: If there will be no answer.
            TimeoutError: No connection, or no answer, in time.
        """
        self._connection = await self._pool.take(self._deadline)
        try:
            self._connection.begin(self._request, self._deadline)
            self.sent = True
            await self._connection.head()
        except BaseException:
            self._connection.abort()
            self._pool.give_back(self._connection)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._connection.complete:
            self._connection.abort()
        self._pool.give_back(self._connection)

    @property
    def status(self) -> int:
        """The answer's status."""
        return self._connection.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, by lower-case name."""
        return self._connection.headers

    async def read(self, limit: int) -> bytes:
        """Return the body, unpacked.

        Raises:
            TooLargeError: If it is larger than the limit, also only when unpacked.
            BrokenError: If it does not come whole.
            TimeoutError: If it does not come in time.
        """
        body = await self._connection.body(limit)
        if body is None:
            raise TooLargeError(limit)
        if "content-encoding" in self.headers:
            return _unpacked(body, self.headers["content-encoding"], limit)
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; a reader that is slow slows the sender.

        Raises:
            BrokenError: If it does not come whole.
            TimeoutError: If it does not come in time.
        """
        if self.headers.get("content-encoding", "identity") != "identity":
            raise BrokenError("a stream came compressed, which was not asked for")
        while data := await self._connection.chunk():
            yield data


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise BrokenError("the answer came in an encoding that was not asked for")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise BrokenError("the answer's compression is broken") from error
    if len(data) > limit:
        raise TooLargeError(limit)
    return data
