"""A mock answer as a stream of server-sent events: one per token, its usage in the last. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tests.support.mock_behaviour import CHARACTERS_PER_TOKEN, Answer, Call

_END = b"0\r\n\r\n"
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer cut into pieces of the wire.

    Attributes:
        head: Status line and headers.
        tokens: One piece per token.
        tail: What comes after the last token: why it ended, the usage, the end of the stream.
    """

    head: bytes
    tokens: tuple[bytes, ...]
    tail: bytes


def stream_of(call: Call, answer: Answer) -> Stream:
    """Cut an answer with status 200; one whose body is no JSON ends in a broken event."""
    lines = (
        "HTTP/1.1 200 -",
        "Content-Type: text/event-stream",
        "Transfer-Encoding: chunked",
        *answer.headers,
    )
    head = "\r\n".join((*lines, "", "")).encode()
    try:
        whole = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return Stream(head, (), _event(answer.body) + _END)
    choice = whole["choices"][0]
    text = choice["message"]["content"]
    pieces = [text[at : at + CHARACTERS_PER_TOKEN] for at in range(0, len(text), CHARACTERS_PER_TOKEN)]
    tokens = tuple(_chunk(call, delta={"content": piece}) for piece in pieces)
    tail = _chunk(call, delta={}, finish_reason=choice["finish_reason"])
    if call.include_usage and "usage" in whole:
        tail += _event(orjson.dumps({**_frame(call), "choices": [], "usage": whole["usage"]}))
    first = _chunk(call, delta={"role": "assistant", "content": ""})
    return Stream(head + first, tokens, tail + _event(_DONE) + _END)


def _chunk(call: Call, *, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(orjson.dumps({**_frame(call), "choices": [choice]}))


def _frame(call: Call) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": call.model,
    }


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"
