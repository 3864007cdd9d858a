"""What is packed comes back to the byte, or is recognised as damaged; nothing grows beyond its limit."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from content_cache.compression.body import restore, strip
from content_cache.compression.codec import MAX_BODY_BYTES, Compressor, UnpackError, unpack
from content_cache.compression.dictionary import Dictionary, prepare
from content_cache.compression.learning import learn
from contentfactory.cache.v1 import cache_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressor, ZstdDecompressor

from tests.unit.cache.packed import sent, text

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_KEYS = st.text(min_size=1, max_size=300).filter(lambda key: len(key.encode()) <= 512)
_ENTRIES = st.builds(
    cache_pb2.Entry,
    value=st.binary(max_size=400),
    content_type=st.text(max_size=20),
    tags=st.lists(st.text(max_size=10), max_size=3),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3),
    cost_micros=st.integers(0, 2**40),
)


def dictionary() -> Dictionary:
    """Return one trained on texts."""
    bodies = [strip(f"k{n}", sent(f"k{n}", text(n))) or b"" for n in range(80)]
    content = learn(bodies, level=3, rival=None)
    assert content is not None
    return Dictionary("a", content, version=1, era=0, create_time=_NOW, samples=80)


DICTIONARY = dictionary()
USING = prepare(DICTIONARY, _NOW).decompressor


@settings(deadline=None)
@given(key=_KEYS, entry=_ENTRIES)
def test_a_body_becomes_its_entry_again(key: str, entry: cache_pb2.Entry) -> None:
    """Of whatever entry, key and checksum are left out and come back in their places."""
    entry.key = key
    entry.checksum = sha256(entry.value).digest()
    encoded = entry.SerializeToString()
    body = strip(key, encoded)
    if body is None:
        assert not entry.value
        return
    assert entry.checksum not in body
    assert restore(key, body) == encoded


@settings(deadline=None)
@given(key=_KEYS, content=st.binary(max_size=100))
def test_what_is_no_entry_is_left_alone(key: str, content: bytes) -> None:
    """Other bytes have no body, or one from which they come back; as a body they are refused or restored."""
    body = strip(key, content)
    assert body is None or restore(key, body) == content
    try:
        restore(key, content)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two right answers


@pytest.mark.parametrize("trained", [False, True])
@settings(deadline=None)
@given(number=st.integers(0, 10**6), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_damage_is_recognised(number: int, place: int, bit: int, *, trained: bool) -> None:
    """With any bit flipped an entry comes back whole or not at all."""
    encoded = sent("k", text(number))
    packed = Compressor(3, DICTIONARY if trained else None).pack("k", encoded)
    assert packed is not None
    using = USING if trained else ZstdDecompressor()
    assert unpack("k", packed, using) == encoded
    damaged = bytearray(packed)
    damaged[place % len(packed)] ^= 1 << bit
    try:
        assert unpack("k", bytes(damaged), using) == encoded
    except UnpackError as error:
        assert error.cause in {"damaged", "too_large"}  # noqa: PT017 - one of two right answers


def test_a_bomb_is_not_unpacked() -> None:
    """A small frame of more than any entry has is refused by what it says; one that does not say is too."""
    bomb = ZstdCompressor().compress(bytes(MAX_BODY_BYTES + 1))
    assert len(bomb) < 1000
    with pytest.raises(UnpackError, match="too_large"):
        unpack("k", bomb, ZstdDecompressor())
    silent = ZstdCompressor(write_content_size=False).compress(bytes(MAX_BODY_BYTES + 1))
    with pytest.raises(UnpackError, match="damaged"):
        unpack("k", silent, ZstdDecompressor())


def test_a_bomb_that_lies_is_not_unpacked() -> None:
    """What says it is small and is not ends in an error, not in memory."""
    liar = bytearray(ZstdCompressor().compress(bytes(200_000)))
    said = int.from_bytes(liar[5:9], "little")
    assert said == 200_000
    liar[5:9] = (1000).to_bytes(4, "little")
    with pytest.raises(UnpackError, match="damaged"):
        unpack("k", bytes(liar), ZstdDecompressor())


def test_another_dictionary_does_not_unpack() -> None:
    """What one dictionary packed does not come back by another one, nor without any."""
    packed = Compressor(3, DICTIONARY).pack("k", sent("k", text(1)))
    assert packed is not None
    with pytest.raises(UnpackError):
        unpack("k", packed, ZstdDecompressor())


def test_what_does_not_shrink_is_kept_as_it_came() -> None:
    """An entry of random bytes is not packed."""
    value = b"".join(sha256(bytes((n,))).digest() for n in range(100))
    entry = cache_pb2.Entry(key="k", value=value, checksum=sha256(value).digest())
    assert Compressor(3).pack("k", entry.SerializeToString()) is None


def test_a_dictionary_pays_on_what_it_was_not_trained_on() -> None:
    """Entries it has not seen take less than four fifths of what they take without it."""
    fresh = [sent("k", text(n)) for n in range(1000, 1040)]
    with_it, without = Compressor(3, DICTIONARY), Compressor(3)
    after = sum(len(with_it.pack("k", each) or each) for each in fresh)
    assert after <= 0.8 * sum(len(without.pack("k", each) or each) for each in fresh)


def test_what_has_nothing_in_common_gets_no_dictionary() -> None:
    """Training on noise, or on too little, gives none; nor does one that does not beat the one in use."""
    noise = [sha256(bytes((n, 1))).digest() * 10 for n in range(80)]
    assert learn(noise, level=3, rival=None) is None
    bodies = [strip(f"k{n}", sent(f"k{n}", text(n))) or b"" for n in range(80)]
    assert learn(bodies[:10], level=3, rival=None) is None
    assert learn(bodies, level=3, rival=DICTIONARY.content) is None
