"""Frames as bytes: an event is serialised once in its life, and frames are made by joining.

A frame is a serialised WatchProgressResponse. Its `events` are field 1, length-delimited, so a stored chunk
is a frame without a token, and the joined frames of neighbouring events are a frame again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_FRAME_BYTES = 256 * 1024
_EVENT_TAG = 0x0A
_TOKEN_TAG = 0x1A
_LOW_BITS = 0x7F
_MORE = 0x80


@dataclass(frozen=True, slots=True)
class Frame:
    """What one write to a watcher carries.

    Attributes:
        first: The number of its first event.
        last: The number of its last event.
        payload: The serialised message, with its token.
    """

    first: int
    last: int
    payload: bytes


def join_events(events: Iterable[bytes]) -> bytes:
    """Return the events as the body of a frame."""
    parts: list[bytes] = []
    for event in events:
        parts.append(_prefix(_EVENT_TAG, len(event)))
        parts.append(event)
    return b"".join(parts)


def split_events(body: bytes) -> list[bytes]:
    """Return the events of which `join_events` made this body.

    Raises:
        ValueError: If it is not such a body.
    """
    events: list[bytes] = []
    position = 0
    while position < len(body):
        if body[position] != _EVENT_TAG:
            raise ValueError("not a body of events")
        size, start = _read_size(body, position + 1)
        position = start + size
        if position > len(body):
            raise ValueError("the last event is cut off")
        events.append(body[start:position])
    return events


def with_token(body: bytes, token: str) -> bytes:
    """Return a whole frame: the body and the token to continue after it."""
    encoded = token.encode()
    return b"".join((body, _prefix(_TOKEN_TAG, len(encoded)), encoded))


def fitting(events: Sequence[bytes], start: int) -> int:
    """Return how many events from `start` on fit in one frame; at least one."""
    size = 0
    for index in range(start, len(events)):
        size += len(events[index]) + 4
        if size > MAX_FRAME_BYTES and index > start:
            return index - start
    return len(events) - start


def _prefix(tag: int, size: int) -> bytes:
    if size <= _LOW_BITS:
        return bytes((tag, size))
    encoded = bytearray((tag,))
    while size > _LOW_BITS:
        encoded.append(size & _LOW_BITS | _MORE)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _read_size(body: bytes, position: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        if position >= len(body):
            raise ValueError("the last event is cut off")
        byte = body[position]
        position += 1
        size |= (byte & _LOW_BITS) << shift
        if byte <= _LOW_BITS:
            return size, position
        shift += 7
