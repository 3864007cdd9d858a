"""The cache key is the published derivation: checked against vectors, and against a second implementation."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.cache_key import cache_key, canonical_bytes
from parallel_processor.model.requests import Message, ModelRequest

VECTORS_FILE = Path(__file__).parents[3] / "protos/cache_key_vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(VECTORS_FILE.read_text("utf-8"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)

REQUESTS = st.builds(
    ModelRequest,
    model=TEXT,
    messages=st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3
    ).map(tuple),
    max_tokens=st.integers(1, 131_072),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.1, 1),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(TEXT, max_size=4).map(tuple),
)


def request_of(vector: dict[str, Any]) -> ModelRequest:
    """Return a vector's request in the processor's words."""
    fields = dict(vector["request"])
    messages = tuple(Message(each["role"], each["content"]) for each in fields.pop("messages"))
    stop = tuple(fields.pop("stop", ()))
    return ModelRequest(messages=messages, stop=stop, **fields)


def derived(tenant: str, request: ModelRequest, variation: int) -> bytes:
    """Derive the canonical bytes from the words of protos/README.md alone, byte by byte."""
    canonical = bytearray(b"contentfactory.cache.key/1")
    canonical.append(0x0A)

    def put(tag: int, value: bytes) -> None:
        canonical.append(tag)
        canonical.extend(len(value).to_bytes(4, "big"))
        canonical.extend(value)

    def put_number(tag: int, number: int) -> None:
        put(tag, number.to_bytes(8, "big", signed=True))

    put(1, tenant.encode("utf-8"))
    put(2, request.model.encode("utf-8"))
    for message in request.messages:
        put(3, message.role.encode("utf-8"))
        put(4, message.content.encode("utf-8"))
    put_number(5, request.max_tokens)
    if request.temperature is not None:
        put(6, struct.pack("!d", request.temperature))
    if request.top_p is not None:
        put(7, struct.pack("!d", request.top_p))
    if request.seed is not None:
        put_number(8, request.seed)
    for stop in request.stop:
        put(9, stop.encode("utf-8"))
    if variation != 0:
        put_number(10, variation)
    return bytes(canonical)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_published_vectors(vector: dict[str, Any]) -> None:
    """The published bytes and keys are what is computed; changing either breaks other languages' clients."""
    request, variation = request_of(vector), vector["variation"]
    assert canonical_bytes(vector["tenant"], request, variation=variation).hex() == vector["canonical_hex"]
    assert cache_key(vector["tenant"], request, variation=variation) == vector["key"]
    assert vector["key"] == "k1-" + sha256(bytes.fromhex(vector["canonical_hex"])).hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_follow_from_the_published_words(vector: dict[str, Any]) -> None:
    """The vectors are what the document says, by an implementation that shares no code with ours."""
    canonical = derived(vector["tenant"], request_of(vector), vector["variation"])
    assert canonical.hex() == vector["canonical_hex"]


def test_vectors_are_distinct() -> None:
    """No two vectors share a name or a key."""
    assert len({each["name"] for each in VECTORS}) == len(VECTORS) >= 10
    assert len({each["key"] for each in VECTORS}) == len(VECTORS)


@given(TEXT, REQUESTS, st.integers(0, 2**31 - 1))
def test_every_request_is_derived_as_published(tenant: str, request: ModelRequest, variation: int) -> None:
    """Any request gives the bytes of the published derivation."""
    assert canonical_bytes(tenant, request, variation=variation) == derived(tenant, request, variation)


ASKED = st.tuples(TEXT, REQUESTS, st.integers(0, 3))


@given(ASKED, ASKED)
def test_different_requests_have_different_bytes(
    one: tuple[str, ModelRequest, int], two: tuple[str, ModelRequest, int]
) -> None:
    """Two requests have equal bytes only if tenant, request and variation are equal."""
    mine, theirs = (canonical_bytes(each[0], each[1], variation=each[2]) for each in (one, two))
    assert (mine == theirs) == (one == two)


def test_no_text_can_pass_for_two() -> None:
    """Texts cannot be moved across the border of two fields: lengths are part of the bytes."""
    one = ModelRequest("m", (Message("user", "ab"), Message("user", "c")), 1)
    two = ModelRequest("m", (Message("user", "a"), Message("user", "bc")), 1)
    assert cache_key("t", one, variation=0) != cache_key("t", two, variation=0)
