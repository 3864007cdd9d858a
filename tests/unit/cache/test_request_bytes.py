"""Keys read out of a request's bytes are those that protobuf finds, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from content_cache import validation
from content_cache.answers import request_bytes
from contentfactory.cache.v1 import cache_pb2 as pb
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

ONE_LENGTH = st.integers(1, 130).flatmap(
    lambda size: st.lists(st.text("\n\x05\x03ab", min_size=size, max_size=size))
)
BATCHES = st.one_of(ONE_LENGTH, st.lists(st.text(max_size=140), max_size=5))
PUBLISHED = [f"k1-{number:064x}" for number in range(100)]


def batch(keys: list[str]) -> bytes:
    """Return a request for some keys, as a client sends it."""
    return pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in keys]).SerializeToString()


def outcome(read: Callable[[bytes], Any], raw: bytes) -> Any:
    """Return what is read, or that nothing can be."""
    try:
        return read(raw)
    except DecodeError:
        return DecodeError


@given(BATCHES)
@example(PUBLISHED)
@example(["\n\x07\n\x05a", "bbbbb"])
@example(["\n\x06\n\x04", "\n\x06\n\x04"])
def test_a_batchs_keys(keys: list[str]) -> None:
    """The keys come back in order, also those that hold what separates them; what is called fit is."""
    read, fit = request_bytes.batch_get_keys(batch(keys))
    assert list(read) == keys
    assert not fit or not validation.bad_keys("requests", read)


@given(st.text(max_size=200))
@example("k" * 123)
@example("k" * 124)
@example("k" * 128)
def test_a_key(key: str) -> None:
    """The key of a request comes back."""
    assert request_bytes.get_key(pb.GetRequest(key=key).SerializeToString()) == key


@given(st.one_of(st.binary(max_size=40), BATCHES.map(batch)), st.integers(0, 400), st.binary(max_size=3))
@example(b"\x0a\x03\x0a\x01k" * 2 + b"\x0a\x03\x0a\x01", 400, b"")
@example(b"\x0a\x03\x0a\x01k\x10\x01\x0a\x01k", 400, b"")
@example(b"\x0a\x07\x0a\x05abcde\x0a\x07\x0a\x07\x0a\x05abc", 400, b"")  # a head two bytes late
def test_damaged_bytes(raw: bytes, place: int, inserted: bytes) -> None:
    """Of bytes that no client makes protobuf's reading holds, or its refusal."""
    damaged = raw[:place] + inserted + raw[place + 1 :]
    asked = outcome(pb.BatchGetRequest.FromString, damaged)
    expected = asked if asked is DecodeError else [each.key for each in asked.requests]
    assert outcome(lambda each: list(request_bytes.batch_get_keys(each)[0]), damaged) == expected
    single = outcome(pb.GetRequest.FromString, damaged)
    assert outcome(request_bytes.get_key, damaged) == (single if single is DecodeError else single.key)


def test_published_keys_need_no_message(monkeypatch: Any) -> None:
    """Keys of the published derivation are read without a message, one or a hundred."""
    one, many = pb.GetRequest(key=PUBLISHED[0]).SerializeToString(), batch(PUBLISHED)
    monkeypatch.delattr(request_bytes, "cache_pb2")
    assert request_bytes.get_key(one) == PUBLISHED[0]
    assert request_bytes.batch_get_keys(many) == (PUBLISHED, True)
