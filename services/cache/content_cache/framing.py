"""What comes before bytes that are a field of a message on the wire: the field's tag and their length.

A layer below is what comes before such a length; around a message in several layers all are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

FIRST = (
    b"\x0a"  # field 1, length-delimited: GetResponse.entry, Result.value, results, entries, AwaitedEntry.key
)
_FOUND_LAYERS = (FIRST, FIRST, FIRST)  # results { value { entry
_HEADS_KEPT = 16_384


def varint(number: int) -> bytes:
    """Return a non-negative number as protobuf writes it."""
    encoded = bytearray()
    while number >= 1 << 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def wrap(layers: Sequence[bytes], size: int) -> bytes:
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
        head = wrap(self._layers, size)
        if len(self) < _HEADS_KEPT:
            self[size] = head
        return head


FOUND_HEADS = _Heads(_FOUND_LAYERS)
"""Of an entry's size: what comes before it in a BatchGetResponse."""

ENTRY_HEADS = _Heads((FIRST,))
"""Of an entry's size: what comes before it in a GetResponse."""
