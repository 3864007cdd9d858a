"""Fields as bytes: the quick look at plain fields takes and refuses exactly what the thorough one does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from service_common.errors import ServiceError
from service_common.storage.encoding import MAX_DEPTH, pack, unpack

NAMES = st.text(max_size=5) | st.sampled_from(["__a__", "ä", "x" * 1501])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)


def nested(levels: int) -> dict[str, Any]:
    """Return a document of so many levels."""
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


def outcome_of(data: Mapping[str, Any]) -> bytes | str:
    """Return what packing gives, or why it is refused."""
    try:
        return pack(data)
    except ServiceError as error:
        return str(error)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
@example({"a": [[1]]})
@example({"a": {"b": [1, [2]]}})
@example({"a": "\ud800"})
@example({"a": datetime(2026, 1, 1)})  # noqa: DTZ001 - one without a time zone is refused
@example(nested(MAX_DEPTH))
@example(nested(MAX_DEPTH + 1))
@example({"a": [nested(MAX_DEPTH - 2)]})
@example({"a": [nested(MAX_DEPTH - 1)]})
def test_plain_fields_are_packed_as_any_mapping_of_the_same(data: dict[str, Any]) -> None:
    """A dictionary is looked at quickly, another mapping is not; both come to the same bytes or error."""
    assert outcome_of(data) == outcome_of(MappingProxyType(data))


@pytest.mark.parametrize("value", [float("nan"), 2**63, [[]], {"": 1}, {1: 1}, object(), bytearray(b"a")])
def test_what_no_backend_keeps_is_refused_by_name(value: Any) -> None:
    """The error names the field, also deep within plain ones."""
    with pytest.raises(ServiceError, match=r"data\.outer\.bad"):
        pack({"good": 1, "outer": {"good": "text", "bad": value}})


def test_subclasses_are_stored_as_what_they_stand_for() -> None:
    """A tuple is a list, and text and numbers of a program's own kind are text and numbers."""

    class Word(str):
        __slots__ = ()

    assert unpack(pack({"a": (1, Word("two")), "b": Word("b")})) == {"a": [1, "two"], "b": "b"}
