"""The index of labels: exact, shared, and empty when its entries are gone."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

from content_cache.entry import Address, Entry
from content_cache.holding import labels
from content_cache.holding.labels import LabelIndex, tags_in
from contentfactory.cache.v1 import cache_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

_changes = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from("klm"),
        st.lists(st.sampled_from("xyz"), max_size=3),
        st.booleans(),
    ),
    max_size=40,
)


@given(_changes, st.sampled_from([1, 2, 4096]))
def test_it_finds_what_a_scan_finds(changes: list[tuple[str, str, list[str], bool]], split: int) -> None:
    """After any additions and removals each label names exactly its entries, and the bytes add up."""
    with patch.object(labels, "SPLIT_MEMBERS", split):
        index, present, taken = LabelIndex(), dict[tuple[str, str], Entry](), 0
        for tenant, key, tags, stays in changes:
            before = present.pop((tenant, key), None)
            if before is not None:
                taken -= index.discard(before)
            if stays:
                added = _entry(tenant, key, index.shared(tenant, tags))
                cost = index.cost(added)
                assert index.add(added) == cost
                taken += cost
                present[tenant, key] = added
        for tenant in "ab":
            own = [each for each in present.values() if each.address.tenant == tenant]
            assert sorted(index.of_tenant(tenant)) == sorted(each.address for each in own)
            for tag in "xyz":
                assert sorted(index.tagged(tenant, tag)) == sorted(
                    each.address for each in own if tag in each.tags
                )
        for each in present.values():
            taken -= index.discard(each)
        assert taken == 0
        assert not index._groups
        assert not index._by_tag


def test_equal_labels_are_one_tuple() -> None:
    """Entries labelled alike hold the same labels, each once, so that they are paid once."""
    index = LabelIndex()
    first = index.shared("a", ["x" * 40, "y", "y"])
    index.add(_entry("a", "k", first))
    assert index.shared("a", ["".join(["x"] * 40), "y"]) is first
    assert first == ("x" * 40, "y")


def _entry(tenant: str, key: str, tags: tuple[str, ...]) -> Entry:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Entry(Address(tenant, key), b"", 0, now, now, tags=tags)


@given(
    st.builds(
        pb.Entry,
        key=st.text(max_size=200),
        value=st.binary(max_size=300),
        content_type=st.text(max_size=5),
        tags=st.lists(st.text(max_size=200), max_size=16),
        metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        cost_micros=st.integers(0, 2**62),
    )
)
def test_labels_are_read_out_of_what_is_sent(entry: pb.Entry) -> None:
    """The labels in an entry's bytes are those protobuf reads, each once."""
    assert tags_in(entry.SerializeToString()) == tuple(dict.fromkeys(entry.tags))
