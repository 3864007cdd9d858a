"""One keep-alive connection to the mock endpoint: requests in, answers out, whole or token by token."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tests.support.mock_behaviour import Answer, Call, Delivery
from tests.support.mock_streaming import Stream, stream_of

if TYPE_CHECKING:
    from tests.support.mock_capacity import Capacity
    from tests.support.mock_endpoint import MockEndpoint

_HEAD_END = b"\r\n\r\n"
_NO_LINGER = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """Answers one request at a time, in order."""

    def __init__(self, endpoint: MockEndpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._buffer = b""
        self._call: Call | None = None
        self._answer: Answer
        self._capacity: Capacity | None = None  # where the call is counted as running
        self._sent_tokens: int | None = None  # of a stream that has begun
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the call that was being answered, and free its place."""
        if self._timer is not None:
            self._timer.cancel()
        if self._call is not None:
            call, self._call = self._call, None
            self._endpoint.left(call, self._answer, output_tokens=self._sent_tokens)
            self._leave_capacity()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def _advance(self) -> None:
        """Begin requests while there is a whole one and none is being answered."""
        while self._call is None and (end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:end]
            start = end + len(_HEAD_END)
            stop = start + _content_length(head)
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[start:stop], self._buffer[stop:]
            self._receive(head, body)

    def _receive(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path != b"/v1/chat/completions":
            status, page = self._endpoint.page(path, body)
            self._transport.write(response(status, page))
            return
        call = self._call = self._endpoint.arrive(body, head)
        self._sent_tokens = None
        self._answer, delay_s = self._endpoint.behaviour.answer(call)
        capacity = self._endpoint.capacities.of(call)
        if capacity is None:
            self._begin(call, delay_s)
            return
        tokens = self._answer.prompt_tokens + self._answer.output_tokens
        verdict = capacity.admit(tokens, self._loop.time())
        if verdict == "refuse":
            self._answer = capacity.refusal(tokens, self._loop.time())
            self._begin(call, 0.0)
        elif verdict == "wait":
            capacity.wait(lambda: self._begin_waiting(call, delay_s, capacity))
        else:
            self._capacity = capacity
            self._begin(call, delay_s * capacity.slowdown(self._loop.time()))

    def _begin_waiting(self, call: Call, delay_s: float, capacity: Capacity) -> bool:
        """Begin a call that waited for its turn; False when its client has gone."""
        if self._call is not call:
            return False
        self._capacity = capacity
        self._begin(call, delay_s)
        return True

    def _begin(self, call: Call, delay_s: float) -> None:
        answer = self._answer
        token_s = self._endpoint.behaviour.token_s
        streamed = call.stream and answer.status == 200
        if not streamed:
            delay_s += token_s * answer.output_tokens
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, self._finish, call, streamed)
        elif streamed:
            self._stream(call)
        else:
            self._deliver(call)

    def _finish(self, call: Call, streamed: bool) -> None:  # noqa: FBT001 - a timer's argument
        self._timer = None
        if streamed:
            self._stream(call)
        else:
            self._deliver(call)
            self._advance()

    def _deliver(self, call: Call) -> None:
        answer = self._answer
        if answer.delivery is Delivery.HANG:
            return
        headers = self._headers()
        self._over(call)
        if answer.delivery is Delivery.RESET:
            self._reset()
        else:
            self._transport.write(response(answer.status, answer.body, headers))

    def _stream(self, call: Call) -> None:
        """Send the head, then the tokens at their pace; a reset or a hang comes after half of them."""
        stream = stream_of(call, replace(self._answer, headers=self._headers()))
        whole = self._answer.delivery is Delivery.SEND
        last = len(stream.tokens) if whole else len(stream.tokens) // 2
        self._sent_tokens = 0
        self._transport.write(stream.head)
        self._token(call, stream, last)

    def _token(self, call: Call, stream: Stream, last: int) -> None:
        self._timer = None
        token_s = self._endpoint.behaviour.token_s
        sent = self._sent_tokens or 0
        upto = last if not token_s else min(last, sent + 1)
        self._transport.write(b"".join(stream.tokens[sent:upto]))
        self._sent_tokens = upto
        if upto < last:
            self._timer = self._loop.call_later(token_s, self._token, call, stream, last)
        elif self._answer.delivery is Delivery.SEND:
            self._over(call)
            self._transport.write(stream.tail)
            self._advance()
        elif self._answer.delivery is Delivery.RESET:
            self._over(call)
            self._reset()

    def _headers(self) -> tuple[str, ...]:
        if self._capacity is None:
            return self._answer.headers
        return (*self._answer.headers, *self._capacity.headers(self._loop.time()))

    def _over(self, call: Call) -> None:
        self._call = None
        self._endpoint.answered(call, self._answer)
        self._leave_capacity()

    def _leave_capacity(self) -> None:
        capacity, self._capacity = self._capacity, None
        if capacity is not None:
            capacity.ended(self._loop.time())

    def _reset(self) -> None:
        # Without lingering, closing sends RST.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


def response(status: int, body: bytes, headers: tuple[str, ...] = ()) -> bytes:
    """Write a whole HTTP response."""
    lines = (
        f"HTTP/1.1 {status} -",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    value = head[at + 17 :]
    return int(value.split(b"\r\n", 1)[0])
