"""A document's fields to bytes and back: what is packed unpacks equal, what cannot be is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import isnan
from typing import Any

import msgpack

from service_common.errors import ErrorKind, ServiceError, invalid_field
from service_common.storage.documents import MAX_DOCUMENT_BYTES, Value, encode_text, too_large

MAX_DEPTH = 20
"""Deepest nesting of lists and maps, the document itself included."""

MAX_FIELD_NAME_BYTES = 1500

_INT64 = range(-(2**63), 2**63)
_PLAIN = frozenset((type(None), bool, bytes))
_TIMESTAMP_AS_DATETIME = 3


def pack(data: Mapping[str, Value]) -> bytes:
    """Return the fields as msgpack.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the field that no backend could keep, or the size if over the
            limit.
    """
    # Nearly every document is plain as it comes, which is soon seen; a copy is made only of others.
    plain = data if _is_plain_map(data, depth=1) else _plain_map("data", data, depth=1)
    packed: bytes = msgpack.packb(plain, datetime=True)
    if len(packed) > MAX_DOCUMENT_BYTES:
        raise too_large(len(packed))
    return packed


def unpack(packed: bytes) -> dict[str, Any]:
    """Return fresh fields from what `pack` made.

    Raises:
        ServiceError: DATA_LOSS if it is damaged.
    """
    try:
        fields: dict[str, Any] = msgpack.unpackb(packed, timestamp=_TIMESTAMP_AS_DATETIME)
    except (ValueError, msgpack.UnpackException) as error:
        raise ServiceError(
            ErrorKind.DATA_LOSS, "STORE_DAMAGED", "a stored document cannot be decoded"
        ) from error
    return fields


def _is_plain_map(fields: object, *, depth: int) -> bool:
    """Tell whether fields can be packed as they are: of the very types, names and bounds that are kept."""
    if type(fields) is not dict or depth > MAX_DEPTH:
        return False
    for name, value in fields.items():
        if not _is_field_name(name):
            return False
        kind = type(value)
        if kind is str:
            if not value.isascii() and not _has_no_surrogates(value):
                return False
        elif kind not in _PLAIN and not _is_plain(kind, value, depth):
            return False
    return True


def _is_plain(kind: type, value: Any, depth: int) -> bool:
    if kind is int:
        return value in _INT64
    if kind is float:
        return not isnan(value)
    if kind is datetime:
        return value.utcoffset() is not None
    if kind is list:
        return depth < MAX_DEPTH and all(_is_plain_element(each, depth + 1) for each in value)
    return _is_plain_map(value, depth=depth + 1)


def _is_plain_element(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return value.isascii() or _has_no_surrogates(value)
    return kind in _PLAIN or (kind is not list and _is_plain(kind, value, depth))


def _has_no_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_map(path: str, fields: Mapping[str, Value], *, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise invalid_field(path, f"must not nest deeper than {MAX_DEPTH}")
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        _check_field_name(path, name)
        plain[name] = _plain(path, name, value, depth)
    return plain


@lru_cache(maxsize=10_000)
def _is_field_name(name: object) -> bool:
    """Tell whether a name is known to be good; the same few names come with every document."""
    if not isinstance(name, str) or not name.isascii():
        return False
    return 0 < len(name) <= MAX_FIELD_NAME_BYTES and not (name.startswith("__") and name.endswith("__"))


def _check_field_name(path: str, name: object) -> None:
    if _is_field_name(name):
        return
    if not isinstance(name, str) or not name or (name.startswith("__") and name.endswith("__")):
        raise invalid_field(path, f"field names are text, not empty and not __like_this__, got {name!r}")
    if len(encode_text(path, name)) > MAX_FIELD_NAME_BYTES:
        raise invalid_field(path, f"field names are at most {MAX_FIELD_NAME_BYTES} bytes of UTF-8")


def _plain(path: str, name: str, value: Value, depth: int) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        if not value.isascii():
            encode_text(f"{path}.{name}", value)
        return str(value)
    if isinstance(value, int):
        if value not in _INT64:
            raise invalid_field(f"{path}.{name}", "must be an integer of 64 bits")
        return int(value)
    if isinstance(value, float):
        if isnan(value):
            raise invalid_field(f"{path}.{name}", "must not be NaN")
        return float(value)
    return _plain_compound(f"{path}.{name}", value, depth)


def _plain_compound(path: str, value: Value, depth: int) -> Any:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise invalid_field(path, "must be a datetime with a time zone")
        return value
    if isinstance(value, Mapping):
        return _plain_map(path, value, depth=depth + 1)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview | str):
        return _plain_list(path, value, depth + 1)
    raise invalid_field(path, f"must be a storable value, got {type(value).__name__}")


def _plain_list(path: str, values: Sequence[Value], depth: int) -> list[Any]:
    if depth > MAX_DEPTH:
        raise invalid_field(path, f"must not nest deeper than {MAX_DEPTH}")
    plain = [_plain(path, str(position), each, depth) for position, each in enumerate(values)]
    if any(type(each) is list for each in plain):
        raise invalid_field(path, "must not hold a list directly inside a list; wrap it in a map")
    return plain
