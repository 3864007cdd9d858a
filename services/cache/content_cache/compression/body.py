"""What of an encoded entry has to be kept: neither its key, which its address has, nor its value's checksum.

Both look random, so that no compression makes them smaller; together they are an eighth of a usual entry. The
checksum is made again from the value, so a reader still compares what it got with what it was told.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import Final

_KEY: Final = 0x0A
_VALUE: Final = 0x12
_CHECKSUM: Final = b"\x32\x20"
_OFFSET: Final = Struct(">I")
_DIGEST_BYTES: Final = 32


def strip(key: str, encoded: bytes) -> bytes | None:
    """Return an entry's body: where its checksum was, and the rest; None if it is not an entry of that key.

    Args:
        key: Its key.
        encoded: The entry as it is sent: its key, its value, the other fields.
    """
    head = _head(key)
    if not encoded.startswith(head) or encoded[len(head) : len(head) + 1] != bytes((_VALUE,)):
        return None
    length, start = _number(encoded, len(head) + 1)
    digest = sha256(encoded[start : start + length]).digest()
    place = encoded.find(_CHECKSUM + digest, start + length)
    if place < 0:
        return None
    after = place + len(_CHECKSUM) + _DIGEST_BYTES
    return b"".join((_OFFSET.pack(place - len(head)), encoded[len(head) : place], encoded[after:]))


def restore(key: str, body: bytes) -> bytes:
    """Return the entry, to the byte, from what `strip` made of it.

    Raises:
        ValueError: If it is no body.
    """
    if len(body) <= _OFFSET.size + 1 or body[_OFFSET.size] != _VALUE:
        raise ValueError("not the body of an entry")
    (offset,) = _OFFSET.unpack_from(body)
    length, start = _number(body, _OFFSET.size + 1)
    cut = _OFFSET.size + offset
    if not start + length <= cut <= len(body):
        raise ValueError("not the body of an entry")
    digest = sha256(body[start : start + length]).digest()
    return b"".join((_head(key), body[_OFFSET.size : cut], _CHECKSUM, digest, body[cut:]))


def _head(key: str) -> bytes:
    name = key.encode()
    length = len(name)
    if length < 1 << 7:
        return bytes((_KEY, length)) + name
    return bytes((_KEY, length & 0x7F | 0x80, length >> 7)) + name


def _number(encoded: bytes, place: int) -> tuple[int, int]:
    """Return a number as protobuf writes it, and where it ends; ValueError if it does not."""
    value = shift = 0
    while place < len(encoded):
        byte = encoded[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 1 << 7:
            return value, place
        shift += 7
    raise ValueError("a number without an end")
