"""Order-preserving encoding: values compare as their encoded bytes do, also across types and when inverted.

The order is Firestore's: null, false, true, numbers (integers and floats by value), times, text, bytes. No
encoding is a prefix of another, so concatenations compare field by field.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from math import inf, nextafter

from service_common.errors import invalid_field
from service_common.storage.documents import Value, encode_text

MAX_INDEXED_BYTES = 1500
"""Longest text or bytes in an indexed field; Firestore indexes no more of it."""

_NULL = 0x05
_BOOL = 0x10
_NUMBER = 0x20
_TIME = 0x30
_TEXT = 0x40
_BYTES = 0x50

_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = 2**53
_INVERTED = bytes(0xFF - byte for byte in range(256))


def encode(field: str, value: Value) -> bytes:
    """Return bytes that sort as the value does.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the field if the value is a list, a map or too long to index.
    """
    match value:
        case None:
            return bytes((_NULL,))
        case bool():
            return bytes((_BOOL, value))
        case int() | float():
            return _encode_number(value)
        case datetime():
            return struct.pack(">BQ", _TIME, microseconds(value) + _SIGN)
        case str():
            return bytes((_TEXT,)) + _terminated(_bounded(field, encode_text(field, value)))
        case bytes():
            return bytes((_BYTES,)) + _terminated(_bounded(field, value))
        case _:
            raise invalid_field(field, "is indexed, so it must be a single value, not a list or a map")


def encode_name(name: str) -> bytes:
    """Return bytes that sort as the name does; of a length the caller has bounded."""
    return _terminated(name.encode())


def invert(encoded: bytes) -> bytes:
    """Return bytes that sort the other way round."""
    return encoded.translate(_INVERTED)


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def after_all(prefix: bytes) -> bytes:
    """Return the least bytes that sort after everything starting with the prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))


def _bounded(field: str, raw: bytes) -> bytes:
    if len(raw) > MAX_INDEXED_BYTES:
        raise invalid_field(
            field, f"is indexed, so it must be at most {MAX_INDEXED_BYTES} bytes, got {len(raw)}"
        )
    return raw


def _terminated(raw: bytes) -> bytes:
    # 00 01 ends, 00 FF is a zero byte: a shorter text sorts before its extensions, whatever follows it.
    return raw.replace(b"\0", b"\0\xff") + b"\0\x01"


def _encode_number(value: float) -> bytes:
    base = float(value)
    remainder = 0
    if isinstance(value, int) and abs(value) > _EXACT:
        # Beyond 2^53 a float skips integers: the nearest float below, and how far the integer is above it.
        if int(base) > value:
            base = nextafter(base, -inf)
        remainder = value - int(base)
    (bits,) = struct.unpack(">Q", struct.pack(">d", base + 0.0))  # + 0.0 turns -0.0 into 0.0
    ordered = bits ^ (_ALL if bits & _SIGN else _SIGN)
    return struct.pack(">BQH", _NUMBER, ordered, remainder)
