"""A schema that contradicts itself does not come into being, and says what is wrong."""

from __future__ import annotations

import pytest
from service_common.storage import Collection, Order, QueryShape, Schema

THINGS = (Collection("things"),)


@pytest.mark.parametrize(
    ("collections", "shapes", "named"),
    [
        ((Collection("a"), Collection("a")), (), "collection 'a' is declared 2 times"),
        ((Collection("a-b"),), (), "collection 'a-b'"),
        ((Collection(""),), (), "collection ''"),
        (
            THINGS,
            (QueryShape("s", "things"), QueryShape("s", "things", ("x",))),
            "shape 's' is declared 2 times",
        ),
        (THINGS, (QueryShape("s", "others"),), "collection 'others' is not declared"),
        (THINGS, (QueryShape("s", "things", ("x",), (Order("x"),)),), "field 'x' is declared 2 times"),
        (THINGS, (QueryShape("s", "things", ("a.b",)),), "'a.b' is not a top-level field"),
        (THINGS, (QueryShape("s", "things", ("",)),), "'' is not a top-level field"),
    ],
)
def test_contradictions_are_refused(
    collections: tuple[Collection, ...], shapes: tuple[QueryShape, ...], named: str
) -> None:
    """Each fault is named."""
    with pytest.raises(ValueError, match=named):
        Schema(collections, shapes)
