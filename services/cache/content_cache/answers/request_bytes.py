"""Keys read out of the bytes of a request: what every hit takes, without a message in between.

Only the form that clients send is read here: keys of ASCII, at most 123 bytes long, in a batch all of one
length, as the keys of the published derivation are. Everything else is parsed as the message it is, so the
keys are always those that protobuf would find.
"""

from __future__ import annotations

from collections.abc import Sequence

from contentfactory.cache.v1 import cache_pb2

_FIELD_1 = 0x0A
"""Tag of field 1, length-delimited: GetRequest.key, BatchGetRequest.requests."""

_LONGEST = 123
"""A key so long makes a request of 125 bytes, and every length fits one byte."""


def get_key(raw: bytes) -> str:
    """Return the key of a GetRequest.

    Raises:
        DecodeError: If the bytes are none.
    """
    length = len(raw) - 2
    if 0 < length <= _LONGEST and raw[0] == _FIELD_1 and raw[1] == length and raw.isascii():
        return raw[2:].decode("ascii")
    return cache_pb2.GetRequest.FromString(raw).key


def batch_get_keys(raw: bytes) -> tuple[Sequence[str], bool]:
    """Return the keys of a BatchGetRequest, in order, and whether each is sure to be one as to its length.

    Raises:
        DecodeError: If the bytes are none.
    """
    keys = _of_one_length(raw)
    if keys is not None:
        return keys, True
    return [each.key for each in cache_pb2.BatchGetRequest.FromString(raw).requests], False


def _of_one_length(raw: bytes) -> list[str] | None:
    """Return the keys if each follows the same four bytes and is as long as the first; None if not."""
    length = int.from_bytes(raw[3:4])
    stride = length + 4
    count, rest = divmod(len(raw), stride)
    if rest or not 0 < length <= _LONGEST or not raw.isascii():
        return None
    head = bytes((_FIELD_1, length + 2, _FIELD_1, length))
    if not raw[::stride] == raw[2::stride] == head[:1] * count:
        return None
    if raw[1::stride] != head[1:2] * count or raw[3::stride] != head[3:] * count:
        return None
    keys = raw.decode("ascii").split(head.decode("ascii"))
    del keys[0]
    # The heads are in their places; a key that held those bytes, too, would have been split.
    return keys if len(keys) == count else None
