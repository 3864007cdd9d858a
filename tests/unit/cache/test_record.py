"""Records come back as they were written, by this release or an earlier one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgpack
from content_cache.entry import Address, Entry
from content_cache.moments import micros
from content_cache.repository.record import Record, Stamp, encode, frame, parse
from contentfactory.cache.v1 import cache_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_STAMP = Stamp(5, 7)


@given(
    st.builds(
        Entry,
        st.builds(Address, st.just("a"), st.text(min_size=1, max_size=20)),
        st.binary(max_size=50),
        st.integers(0, 2**60),
        st.just(_NOW),
        st.just(_NOW + timedelta(hours=1)),
        tags=st.lists(st.text(max_size=9), unique=True, max_size=4).map(tuple),
        era=st.integers(0, 2**40),
        stale_s=st.integers(0, 10**6).map(float),
        generation_s=st.integers(0, 10**9).map(lambda micros: micros / 1_000_000),
    )
)
def test_what_is_written_comes_back(entry: Entry) -> None:
    """Every fact of an entry outlives the store: labels, era, window and how long it took."""
    record = parse("a", frame(encode(entry.address, entry), _STAMP, covers=9))
    assert record == Record(entry.address, _STAMP, 9, entry)


def test_a_record_of_an_earlier_release_has_its_labels() -> None:
    """Entries stored before there were purges are found by label, and are older than every purge."""
    sent = pb.Entry(key="k", value=b"x" * 300, tags=["template:faq@1", "content_type:faq"], cost_micros=2**40)
    expires = _NOW + timedelta(hours=1)
    written = msgpack.packb(("k", sent.SerializeToString(), 7, micros(_NOW), micros(expires)))
    record = parse("a", frame(written, _STAMP, covers=9))
    assert record
    assert record.entry == Entry(
        Address("a", "k"), sent.SerializeToString(), 7, _NOW, expires, tags=tuple(sent.tags)
    )
