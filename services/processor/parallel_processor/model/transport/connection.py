"""One connection, one exchange at a time: bytes of a request out, an answer's head and body in.

The parser is httptools (llhttp). Its callbacks only take notes; whoever waits is woken once for what it
waits for, so that an answer that comes in one piece costs one turn of the loop.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import cast

import httptools

from parallel_processor.model.transport.failures import BrokenError, UnreachableError

_HIGH_WATER_BYTES = 1 << 18
"""What is taken in ahead of a reader that goes chunk by chunk."""

_MAX_HEAD_BYTES = 1 << 16
_INFORMATIONAL = range(100, 200)


class _Waits(Enum):
    """What an exchange is being waited for."""

    HEAD = "HEAD"
    BODY = "BODY"
    END = "END"


class Connection(asyncio.Protocol):
    """A connection. Its mutable state: the answer as far as it came, and who waits for more of it.

    Attributes:
        status: Of the answer; 0 until its head is there.
        headers: Of the answer, by lower-case name; of a repeated one the values joined by commas.
        complete: Whether the whole answer is there.
        idle_since: When its last exchange ended, by the loop's clock.
        deadline: When the exchange under way is given up, by the loop's clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = True
        self.idle_since = 0.0
        self.deadline = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._head_bytes = 0
        self._head = False
        self._limit: int | None = None
        self._paused = False
        self._ends_with_connection = False
        self._reusable = True
        self._lost: BrokenError | TimeoutError | None = None
        self._waits = _Waits.HEAD
        self._waiter: asyncio.Future[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin."""
        transport = self._transport
        return self.complete and self._reusable and transport is not None and not transport.is_closing()

    def begin(self, request: bytes, deadline: float) -> None:
        """Send a request; the answers of the one before are forgotten."""
        if self._transport is None or self._transport.is_closing():
            raise UnreachableError("the connection was closed")
        self.status, self.headers, self.complete = 0, {}, False
        self._chunks, self._buffered, self._head_bytes, self._head = [], 0, 0, False
        self._limit, self._ends_with_connection = None, False
        self.deadline = deadline
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            BrokenError: If there will be none.
            TimeoutError: If it does not come in time.
        """
        while not (self._head or self._lost):
            await self._wait(_Waits.HEAD)
        if not self._head:
            self._raise_lost()

    async def body(self, limit: int) -> bytes | None:
        """Wait for the whole body; None when it is larger than the limit.

        Raises:
            BrokenError: If it will not come.
            TimeoutError: If it does not come in time.
        """
        self._limit = limit
        while not (self.complete or self._lost or self._buffered > limit):
            await self._wait(_Waits.END)
        if self._buffered > limit:
            return None
        if not self.complete:
            self._raise_lost()
        return b"".join(self._chunks) if len(self._chunks) != 1 else self._chunks[0]

    async def chunk(self) -> bytes:
        """Wait for what comes next of the body; empty at its end.

        Raises:
            BrokenError: If the rest will not come.
            TimeoutError: If it does not come in time.
        """
        while not (self._chunks or self.complete or self._lost):
            await self._wait(_Waits.BODY)
        if not self._chunks:
            if not self.complete:
                self._raise_lost()
            return b""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def expire(self) -> None:
        """Give the exchange up: whoever waits for more of it gets a TimeoutError."""
        if self._lost is None:
            self._lost = TimeoutError()
        self.abort()
        self._wake_if_ready()

    def abort(self) -> None:
        """Close at once, so that the other side stops working."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        if self.complete:  # nothing was asked: whatever this is, the connection cannot be trusted
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the other side wants another protocol")
        except httptools.HttpParserError:
            self._fail("the answer is no HTTP")
        if not self._head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._fail("the answer's head is too large")
        self._wake_if_ready()

    def eof_received(self) -> bool:
        """Let the connection close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that nothing more comes."""
        self._reusable = False
        if not self.complete:
            if self._head and self._ends_with_connection and exc is None:
                self.complete = True
            elif self._lost is None:
                self._lost = BrokenError(type(exc).__name__ if exc else "it was closed")
        self._wake_if_ready()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Distrust a connection over which more comes than was asked for."""
        if self.complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Take note of the head; those of informational answers are passed over."""
        status = self._parser.get_status_code()
        if status in _INFORMATIONAL:
            self.headers = {}
            return
        self.status, self._head = status, True
        self._ends_with_connection = not (
            "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()
        )

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._limit is None and self._buffered > _HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            cast("asyncio.Transport", self._transport).pause_reading()

    def on_message_complete(self) -> None:
        """Take note of the end."""
        if self._head:
            self.complete = True
            self._reusable = self._reusable and self._parser.should_keep_alive()
            self.idle_since = self._loop.time()

    async def _wait(self, waits: _Waits) -> None:
        self._waits = waits
        self._waiter = self._loop.create_future()
        if self._paused and waits is _Waits.END and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake_if_ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if (
            self.complete
            or self._lost is not None
            or (self._waits is _Waits.HEAD and self._head)
            or (self._waits is _Waits.BODY and self._chunks)
            or (self._limit is not None and self._buffered > self._limit)
        ):
            waiter.set_result(None)

    def _fail(self, why: str) -> None:
        if self._lost is None:
            self._lost = BrokenError(why)
        self.abort()

    def _raise_lost(self) -> None:
        if self._lost is not None:
            raise self._lost
        raise BrokenError("it was closed")
