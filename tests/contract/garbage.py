"""Requests that no decent client sends, made from a message's descriptor alone: a new field is covered.

Valid-looking values would stop at the first bad field; so a request is first filled with plausible values,
then one field after the other is spoiled, at every depth.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.contract.contracts import is_map

Field: TypeAlias = Any  # a FieldDescriptor; its stubs allow None where a field of that kind never has it

KNOWN_ID = "known_id"
_GOOD_TEXTS = {"schema": "{}", "handlers": "json_pretty"}
_DEPTH = 4
_LONG = "x" * 70_000
_LEAST = {FieldDescriptor.CPPTYPE_INT32: -(2**31), FieldDescriptor.CPPTYPE_INT64: -(2**63)}
_MOST = {
    FieldDescriptor.CPPTYPE_INT32: 2**31 - 1,
    FieldDescriptor.CPPTYPE_INT64: 2**63 - 1,
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
}
_DOUBLES = (float("nan"), float("inf"), float("-inf"), -1.0, 1e308)
_TEXTS = ("", _LONG, "\x00", "../../etc/passwd", "no-such-id", "ä\u202e🙂", "a b\r\nc", "*", "/", "__proto__")
_TIMES = ((2**63 - 1, 0), (-(2**63), 0), (0, -1), (0, 2_000_000_000), (-62135596801, 0), (253402300800, 0))
_WELL_KNOWN = ("google.protobuf.Duration", "google.protobuf.Timestamp")


def plausible(message: Any, depth: int = _DEPTH) -> Any:
    """Fill every field with a value of its kind; of a oneof, the first field stays."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is None or message.WhichOneof(oneof.name) is None:
            _fill(message, field, depth)
    return message


def _fill(message: Any, field: Field, depth: int) -> None:
    if is_map(field):
        _put(message, field, KNOWN_ID, "value")
    elif field.message_type is not None:
        _fill_message(message, field, depth)
    elif field.is_repeated:
        getattr(message, field.name).append(_plain(field))
    else:
        setattr(message, field.name, _plain(field))


def _fill_message(message: Any, field: Field, depth: int) -> None:
    if depth == 0:
        return
    inner = getattr(message, field.name)
    inner = inner.add() if field.is_repeated else inner
    if field.message_type.full_name in _WELL_KNOWN:
        inner.seconds = 30
    else:
        inner.SetInParent()
        plausible(inner, depth - 1)


def _put(message: Any, field: Field, key: str, text: str) -> None:
    value = field.message_type.fields_by_name["value"]
    getattr(message, field.name)[key] = text if value.cpp_type == FieldDescriptor.CPPTYPE_STRING else 1


def _put_many(message: Any, field: Field, count: int) -> None:
    for number in range(count):
        _put(message, field, f"key_{number}", "v")


def _plain(field: Field) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return "" if field.name.endswith("_token") else _GOOD_TEXTS.get(field.name, KNOWN_ID)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"" if field.name == "checksum" else b"bytes"
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values[1].number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return False
    return 0.5 if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT) else 1


def spoiled(request_class: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield requests with one bad field each, and what is bad about each."""
    yield from _spoil(request_class, plausible(request_class()), ())


def _spoil(request_class: type[Any], whole: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    target = _descend(whole, path)
    for field in target.DESCRIPTOR.fields:
        name = ".".join((*path, field.name))
        for label, change in _changes(field):
            request = request_class()
            request.CopyFrom(whole)
            change(_descend(request, path))
            yield f"{name}: {label}", request
        if _has_inner(field) and len(path) < _DEPTH:
            deeper = request_class()
            deeper.CopyFrom(whole)
            _choose(_descend(deeper, path), field)
            yield from _spoil(request_class, deeper, (*path, field.name))


def _has_inner(field: Field) -> bool:
    return (
        field.message_type is not None
        and not is_map(field)
        and field.message_type.full_name not in _WELL_KNOWN
    )


def _choose(message: Any, field: Field) -> None:
    """Make sure that a message field is set, also where another one of its oneof was."""
    if field.is_repeated:
        if not getattr(message, field.name):
            plausible(getattr(message, field.name).add())
    elif not message.HasField(field.name):
        plausible(getattr(message, field.name))
        getattr(message, field.name).SetInParent()


def _descend(message: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        inner = getattr(message, name)
        message = inner if hasattr(inner, "DESCRIPTOR") else inner[0]
    return message


def _changes(field: Field) -> Iterator[tuple[str, Any]]:
    yield "absent", lambda message: message.ClearField(field.name)
    if is_map(field):
        yield "too many pairs", lambda message: _put_many(message, field, 2_000)
        yield "long key", lambda message: _put(message, field, _LONG, "v")
        yield "long value", lambda message: _put(message, field, "key", _LONG)
        yield "empty key", lambda message: _put(message, field, "", "v")
    elif field.is_repeated:
        yield "1,001 times", lambda message: _repeat(message, field, 1_001)
        yield "twice", lambda message: _repeat(message, field, 2)
    if field.message_type is None:
        yield from _scalar_changes(field)
    elif field.message_type.full_name in _WELL_KNOWN:
        for seconds, nanos in _TIMES:
            yield f"{seconds} s {nanos} ns", _set_time(field, seconds, nanos)


def _scalar_changes(field: Field) -> Iterator[tuple[str, Any]]:
    for value in _bad_values(field):
        label = f"{str(value)[:24]!r}" + ("…" if len(str(value)) > len(_LONG) // 2 else "")
        yield label, _set_value(field, value)


def _bad_values(field: Field) -> tuple[Any, ...]:
    kind = field.cpp_type
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXTS
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (b"", b"\xff" * 70_000, b"\x00")
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return (0, 9_999, -1)
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _DOUBLES
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return (True,)
    return (0, _LEAST.get(kind, 0), _MOST[kind], -1 if kind in _LEAST else 1)


def _set_value(field: Field, value: Any) -> Any:
    def change(message: Any) -> None:
        if field.is_repeated:
            getattr(message, field.name)[:] = [value]
        else:
            setattr(message, field.name, value)

    return change


def _set_time(field: Field, seconds: int, nanos: int) -> Any:
    def change(message: Any) -> None:
        inner = getattr(message, field.name)
        inner.seconds, inner.nanos = seconds, nanos

    return change


def _repeat(message: Any, field: Field, times: int) -> None:
    values = getattr(message, field.name)
    if not values:
        _fill(message, field, 1)
    first = values[0]
    values.extend([first] * (times - len(values)))


def scrambled(message: Any, dice: random.Random, depth: int = _DEPTH) -> Any:
    """Fill a message at random, with good and bad values alike."""
    for field in message.DESCRIPTOR.fields:
        if dice.random() < 0.3:
            continue
        if is_map(field):
            _put(message, field, dice.choice(_TEXTS), dice.choice(_TEXTS))
        elif field.message_type is not None:
            _scramble_message(message, field, dice, depth)
        else:
            value = dice.choice((*_bad_values(field), _plain(field)))
            _set_value(field, value)(message)
    return message


def _scramble_message(message: Any, field: Field, dice: random.Random, depth: int) -> None:
    if field.message_type.full_name in _WELL_KNOWN and not field.is_repeated:
        _set_time(field, *dice.choice(_TIMES))(message)
    elif depth > 0:
        for _ in range(dice.randint(1, 3) if field.is_repeated else 1):
            inner = getattr(message, field.name)
            inner = inner.add() if field.is_repeated else inner
            inner.SetInParent()
            scrambled(inner, dice, depth - 1)


def invalid_utf8(descriptor: Descriptor, depth: int = _DEPTH) -> Iterator[tuple[str, bytes]]:
    """Yield wire bytes with a string that is no UTF-8, for each string field at any depth."""
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield field.name, _delimited(field.number, b"\xc3\x28\xff")
        elif field.message_type is not None and depth > 0:
            for name, inner in invalid_utf8(field.message_type, depth - 1):
                yield f"{field.name}.{name}", _delimited(field.number, inner)


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
