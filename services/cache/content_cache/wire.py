"""Responses put together from entries that are already serialised: what is stored is not serialised again.

The bytes are those of the messages in cache.proto, field for field (tests parse them and compare). A message
field on the wire is its tag, its length and its bytes; a layer below is what comes before such a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from google.protobuf.message import Message

from content_cache.leases import Lease
from content_cache.waiting import Decided

_FIRST = (
    b"\x0a"  # field 1, length-delimited: GetResponse.entry, Result.value, results, entries, AwaitedEntry.key
)
_FOUND_LAYERS = (_FIRST, _FIRST, _FIRST)  # results { value { entry
_HIT_LAYERS = (_FIRST, _FIRST, b"\x08\x01\x12")  # results { value { outcome = HIT, entry
_MISS = b"\x0a\x02\x0a\x00"  # results { value {} }
_AWAIT_FILLED = b"\x10\x01\x1a"  # outcome = FILLED, entry
_AWAIT_LOST = b"\x10\x02"  # outcome = LEASE_LOST

_HEADS_KEPT = 4096


def varint(number: int) -> bytes:
    """Return a non-negative number as protobuf writes it."""
    encoded = bytearray()
    while number >= 1 << 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _wrap(layers: Sequence[bytes], size: int) -> bytes:
    """Return what comes before `size` bytes that are wrapped in layers, the outermost first."""
    head = b""
    for layer in reversed(layers):
        head = layer + varint(size + len(head)) + head
    return head


class _Heads(dict[int, bytes]):
    """What comes before an entry in some layers, by the entry's size; what was asked for first is kept."""

    def __init__(self, layers: Sequence[bytes]) -> None:
        super().__init__()
        self._layers = layers

    def __missing__(self, size: int) -> bytes:
        head = _wrap(self._layers, size)
        if len(self) < _HEADS_KEPT:
            self[size] = head
        return head


_FOUND_HEADS = _Heads(_FOUND_LAYERS)
_ENTRY_HEADS = _Heads((_FIRST,))


def get_response(encoded: bytes | None) -> bytes:
    """Return a GetResponse: with the entry, or without on a miss."""
    return b"" if encoded is None else _ENTRY_HEADS[len(encoded)] + encoded


def all_found(answers: Sequence[bytes | Message | None], room: int) -> bytes | None:
    """Return a BatchGetResponse of entries alone, framed all at once: the usual case.

    Returns:
        None if there is anything else among the answers, or no room for them all.
    """
    entries = cast("Sequence[bytes]", answers)
    try:
        sizes = [*map(len, entries)]
    except TypeError:  # None and messages have no length
        return None
    if sum(sizes) > room:
        return None
    parts = [b""] * (2 * len(entries))
    parts[::2] = map(_FOUND_HEADS.__getitem__, sizes)
    parts[1::2] = entries
    return b"".join(parts)


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
            self._parts.append(_FOUND_HEADS[len(entry)])
            self._parts.append(entry)
        else:
            self.add(excess())

    def hit(self, encoded: bytes) -> None:
        """Add a BatchAcquire result with an entry."""
        self._parts.append(_wrap(_HIT_LAYERS, len(encoded)))
        self._parts.append(encoded)

    def add(self, result: Message) -> None:
        """Add a result that is a message."""
        encoded = result.SerializeToString()
        self._parts.append(_wrap((_FIRST,), len(encoded)))
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
            part = _wrap((_FIRST,), len(message)) + message
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
    named = _FIRST + varint(len(name)) + name
    if encoded is None:
        return _wrap((_FIRST,), len(named) + len(_AWAIT_LOST)) + named + _AWAIT_LOST
    return _wrap((_FIRST, named + _AWAIT_FILLED), len(encoded)) + encoded
