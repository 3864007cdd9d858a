"""Responses put together from entries that are already serialised: what is stored is not serialised again.

The bytes are those of the messages in cache.proto, field for field (tests parse them and compare).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from google.protobuf.message import Message

from content_cache.entry import Entry
from content_cache.framing import ENTRY_HEADS, FIRST, FOUND_HEADS, varint, wrap
from content_cache.leasing.leases import Lease
from content_cache.leasing.waiting import Decided

_HIT_LAYERS = (FIRST, FIRST, b"\x08\x01\x12")  # results { value { outcome = HIT, entry
_MISS = b"\x0a\x02\x0a\x00"  # results { value {} }
_AWAIT_FILLED = b"\x10\x01\x1a"  # outcome = FILLED, entry
_AWAIT_LOST = b"\x10\x02"  # outcome = LEASE_LOST


def get_response(encoded: bytes | None) -> bytes:
    """Return a GetResponse: with the entry, or without on a miss."""
    return b"" if encoded is None else ENTRY_HEADS[len(encoded)] + encoded


def all_found(entries: Sequence[Entry | None], most_bytes: int) -> bytes | None:
    """Return a BatchGetResponse of entries alone, framed all at once: the usual case.

    Returns:
        None if one is missing or packed, or there is no room for them all.
    """
    if not all(entries):
        return None
    found = cast("Sequence[Entry]", entries)
    heads = [each.head for each in found]
    if not all(heads):
        return None
    parts = [b""] * (2 * len(found))
    parts[::2] = heads
    parts[1::2] = [each.encoded for each in found]
    whole = b"".join(parts)
    return whole if len(whole) <= most_bytes else None


class BatchResults:
    """The results of BatchGet or BatchAcquire in the making, within a limit of bytes."""

    __slots__ = ("_parts", "_room")

    def __init__(self, room: int) -> None:
        self._parts: list[bytes] = []
        self._room = room

    def has_room(self, encoded: bytes) -> bool:
        """Tell whether an entry still fits, and take its room if so."""
        if len(encoded) > self._room:
            return False
        self._room -= len(encoded)
        return True

    def looked_up(self, answers: Sequence[bytes | Message | None], *, excess: Callable[[], Message]) -> None:
        """Add BatchGet results.

        Args:
            answers: Of each lookup the entry, None for none, or a result that is a message.
            excess: Returns the result of an entry for which there is no room.
        """
        for answer in answers:
            if isinstance(answer, bytes):
                self._found(answer, excess)
            elif answer is None:
                self._parts.append(_MISS)
            else:
                self.add(answer)

    def _found(self, entry: bytes, excess: Callable[[], Message]) -> None:
        if self.has_room(entry):
            self._parts.append(FOUND_HEADS[len(entry)])
            self._parts.append(entry)
        else:
            self.add(excess())

    def hit(self, encoded: bytes) -> None:
        """Add a BatchAcquire result with an entry."""
        self._parts.append(wrap(_HIT_LAYERS, len(encoded)))
        self._parts.append(encoded)

    def add(self, result: Message) -> None:
        """Add a result that is a message."""
        encoded = result.SerializeToString()
        self._parts.append(wrap((FIRST,), len(encoded)))
        self._parts.append(encoded)

    def serialized(self) -> bytes:
        """Return the response."""
        return b"".join(self._parts)


def awaited_entries(
    decided: Iterable[Decided], *, room: int, inherited: Callable[[Lease], bytes]
) -> Iterator[bytes]:
    """Yield AwaitEntriesResponses of decided keys, each within `room` bytes if a single key fits at all.

    Args:
        decided: The keys.
        room: Most bytes of a response.
        inherited: Returns the AwaitedEntry of a lease.
    """
    parts: list[bytes] = []
    left = room
    for address, entry in decided:
        if isinstance(entry, Lease):
            message = inherited(entry)
            part = wrap((FIRST,), len(message)) + message
        else:
            part = _awaited_entry(address.key, None if entry is None else entry.encoded)
        if parts and len(part) > left:
            yield b"".join(parts)
            parts, left = [], room
        parts.append(part)
        left -= len(part)
    if parts:
        yield b"".join(parts)


def _awaited_entry(key: str, encoded: bytes | None) -> bytes:
    name = key.encode()
    named = FIRST + varint(len(name)) + name
    if encoded is None:
        return wrap((FIRST,), len(named) + len(_AWAIT_LOST)) + named + _AWAIT_LOST
    return wrap((FIRST, named + _AWAIT_FILLED), len(encoded)) + encoded
