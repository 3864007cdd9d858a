"""Responses put together by hand are, byte for byte, the messages of the contract."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from content_cache import framing
from content_cache.answers import wire
from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.waiting import Decided
from contentfactory.cache.v1 import cache_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
entries = st.builds(
    lambda key, value, tags: pb.Entry(key=key, value=value, tags=tags, cost_micros=len(value)),
    st.text(max_size=80),
    st.one_of(st.binary(max_size=300), st.sampled_from([b"x" * 127, b"x" * 16_400, b"x" * 1_048_576])),
    st.lists(st.text(max_size=9), max_size=3),
)


@given(st.one_of(st.none(), entries))
def test_get_response(entry: pb.Entry | None) -> None:
    """A GetResponse parses to the one protobuf would make."""
    made = wire.get_response(None if entry is None else entry.SerializeToString())
    assert pb.GetResponse.FromString(made) == pb.GetResponse(entry=entry)


@given(st.lists(st.one_of(st.none(), entries), max_size=4))
def test_batch_get_response(found: list[pb.Entry | None]) -> None:
    """Found, missed and failed results parse to the ones protobuf would make, in order."""
    failed = pb.BatchGetResponse.Result(error={"code": 3, "message": "no"})
    results = wire.BatchResults(10_000_000)
    expected = pb.BatchGetResponse(results=[failed])
    for entry in found:
        expected.results.add(value=pb.GetResponse(entry=entry))
    answers = [failed, *(entry and entry.SerializeToString() for entry in found)]
    results.looked_up(answers, excess=lambda: failed)
    assert pb.BatchGetResponse.FromString(results.serialized()) == expected


@given(st.lists(entries, max_size=4))
def test_entries_alone_are_framed_at_once_as_one_by_one(found: list[pb.Entry]) -> None:
    """The bytes are the same; with one that is missing or packed, or too many, it is for the other way."""
    answers = [entry.SerializeToString() for entry in found]
    held = [Entry(Address("a", "k"), each, 0, _NOW, _NOW) for each in answers]
    one_by_one = wire.BatchResults(sum(map(len, answers)))
    one_by_one.looked_up(answers, excess=pb.BatchGetResponse.Result)
    expected = one_by_one.serialized()
    assert wire.all_found(held, len(expected)) == expected
    assert wire.all_found([*held, None], len(expected)) is None
    assert (
        wire.all_found([*held, Entry(Address("a", "k"), b"", 0, _NOW, _NOW, packing="zstd")], 10**9) is None
    )
    if expected:
        assert wire.all_found(held, len(expected) - 1) is None


@given(entries)
def test_batch_acquire_hit(entry: pb.Entry) -> None:
    """A HIT parses to the one protobuf would make."""
    results = wire.BatchResults(10_000_000)
    results.hit(entry.SerializeToString())
    made = pb.BatchAcquireResponse.FromString(results.serialized())
    assert made.results[0].value.outcome == pb.ACQUIRE_OUTCOME_HIT
    assert made.results[0].value.entry == entry
    assert len(made.results) == 1


def inherited(lease: Lease) -> bytes:
    """Return the entry of a waiter that has the lease now."""
    awaited = pb.AwaitEntriesResponse.AwaitedEntry
    return awaited(key=lease.address.key, outcome=pb.AWAIT_OUTCOME_LEASED).SerializeToString()


@given(st.text(min_size=1, max_size=300), entries)
def test_awaited_entries(key: str, entry: pb.Entry) -> None:
    """Decided keys parse to the ones protobuf would make, whatever their names."""
    encoded = entry.SerializeToString()
    kept = Entry(Address("a", key), encoded, 0, _NOW, _NOW)
    lost = Address("a", key + "!")
    awaited = pb.AwaitEntriesResponse.AwaitedEntry
    mine = Lease(Address("a", key + "?"), "h", 0, "t", 1.0)
    decided: list[Decided] = [(kept.address, kept), (lost, None), (mine.address, mine)]
    made = list(wire.awaited_entries(decided, room=10_000_000, inherited=inherited))
    assert [pb.AwaitEntriesResponse.FromString(each) for each in made] == [
        pb.AwaitEntriesResponse(
            entries=[
                awaited(key=key, outcome=pb.AWAIT_OUTCOME_FILLED, entry=entry),
                awaited(key=lost.key, outcome=pb.AWAIT_OUTCOME_LEASE_LOST),
                awaited(key=mine.address.key, outcome=pb.AWAIT_OUTCOME_LEASED),
            ]
        )
    ]


def test_awaited_entries_are_split_into_messages_that_fit() -> None:
    """No message exceeds the room while every key is sent once, in order."""
    keys = [f"k{number}" for number in range(20)]
    decided = [(Address("a", key), Entry(Address("a", key), b"", 0, _NOW, _NOW)) for key in keys]
    made = list(wire.awaited_entries(decided, room=40, inherited=inherited))
    assert max(map(len, made)) <= 40
    assert len(made) > 1
    sent = [each.key for message in made for each in pb.AwaitEntriesResponse.FromString(message).entries]
    assert sent == keys


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**21 - 1, 2**21])
def test_varint(number: int) -> None:
    """Numbers are written as protobuf writes them."""
    assert (
        framing.varint(number) == pb.EntryContent(cost_micros=number).SerializeToString()[1:] or number == 0
    )
    assert number or framing.varint(0) == b"\0"


def test_room_is_taken_by_what_fits_only() -> None:
    """An entry that does not fit takes no room from those that follow."""
    results = wire.BatchResults(10)
    assert [results.has_room(b"x" * size) for size in (6, 5, 4, 1)] == [True, False, True, False]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=200)), max_size=5), st.integers(0, 400))
def test_only_what_fits_is_sent(found: list[bytes | None], room: int) -> None:
    """Entries are taken in order as long as there is room; what is no message is sent as it is."""
    excess = pb.BatchGetResponse.Result(error={"code": 8})
    results = wire.BatchResults(room)
    results.looked_up(found, excess=lambda: excess)
    made = results.serialized()
    for encoded in found:
        if encoded is None:
            expected = b"\x0a\x02\x0a\x00"
        elif len(encoded) <= room:
            room -= len(encoded)
            expected = framing.FOUND_HEADS[len(encoded)] + encoded
        else:
            expected = pb.BatchGetResponse(results=[excess]).SerializeToString()
        assert made.startswith(expected)
        made = made[len(expected) :]
    assert not made
