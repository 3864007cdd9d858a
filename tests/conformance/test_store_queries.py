"""The sentences of `DocumentStore`'s contract on queries, each against every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import Create, Delete, DocumentStore, Key, Query, QueryShape, Set, Update, Value

Shapes = dict[str, QueryShape]


def thing(name: str, rank: Value, *, kind: str = "k", tenant: str = "acme") -> Create:
    """Make the creation of a document that matches the shapes of things."""
    return Create(Key("things", tenant, name), {"kind": kind, "rank": rank, "name": name})


async def ids(store: DocumentStore, query: Query) -> list[str]:
    """Return the ids of one page."""
    return [each.key.id for each in (await store.query(query)).documents]


async def all_ids(store: DocumentStore, query: Query) -> list[list[str]]:
    """Follow the cursors and return the ids of every page."""
    pages = []
    while True:
        page = await store.query(query)
        pages.append([each.key.id for each in page.documents])
        if page.next_cursor is None:
            return pages
        query = replace(query, cursor=page.next_cursor)


async def refusal(store: DocumentStore, query: Query) -> ErrorKind:
    """Return the kind of error the query ends in."""
    with pytest.raises(ServiceError) as caught:
        await store.query(query)
    return caught.value.kind


async def test_order_and_ties(store: DocumentStore, shapes: Shapes) -> None:
    """Ascending by field, ties by id."""
    await store.commit([thing("c", 1), thing("b", 2), thing("a", 2), thing("d", -5)])
    assert await ids(store, Query(shapes["by_rank"], {"kind": "k"}, "acme")) == ["d", "c", "a", "b"]


async def test_mixed_directions_and_ties(store: DocumentStore, shapes: Shapes) -> None:
    """Each field in its own direction; the id follows the last."""
    for name, data in {"1": "b", "2": "a", "3": "a"}.items():
        await store.commit([Create(Key("things", "acme", name), {"kind": "k", "rank": 1, "name": data})])
    await store.commit([Create(Key("things", "acme", "4"), {"kind": "k", "rank": 9, "name": "z"})])
    assert await ids(store, Query(shapes["by_rank_down"], {"kind": "k"}, "acme")) == ["4", "2", "3", "1"]
    falling = Query(shapes["falling"], {}, "acme")
    await store.commit([Set(Key("things", "acme", each), {"due": 1}) for each in "xyz"])
    assert await ids(store, falling) == ["z", "y", "x"]


async def test_values_of_all_types_have_one_order(store: DocumentStore, shapes: Shapes) -> None:
    """Null, booleans, numbers by value whatever their type, times, text, bytes."""
    early, late = datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    numbers = [float("-inf"), -(2**63), -(2**53) - 1, -1.5, -1, 0, 1e-300, 0.5, 1, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2.0**63]  # fmt: skip # noqa: E501 - one scale
    scale: Sequence[Value] = [None, False, True, *numbers, early, late, "", "\0", "a", "a\0", "ab", "ü", b"", b"\0", b"\xff"]  # fmt: skip # noqa: E501 - one scale
    order = [f"{position:03}" for position in range(len(scale))]
    await store.commit([thing(name, value) for name, value in reversed(list(zip(order, scale, strict=True)))])
    assert await ids(store, Query(shapes["by_rank"], {"kind": "k"}, "acme")) == order
    assert await ids(store, Query(shapes["by_rank_down"], {"kind": "k"}, "acme")) == order[::-1]


async def test_equality_by_value(store: DocumentStore, shapes: Shapes) -> None:
    """Equal is equal whatever the number's type; None equals only None; nothing else matches."""
    kinds: dict[str, Value] = {"int": 1, "float": 1.0, "true": True, "text": "1", "none": None}
    for name, kind in kinds.items():
        await store.commit([Create(Key("things", "acme", name), {"kind": kind})])
    assert await ids(store, Query(shapes["of_kind"], {"kind": 1}, "acme")) == ["float", "int"]
    assert await ids(store, Query(shapes["of_kind"], {"kind": None}, "acme")) == ["none"]
    assert await ids(store, Query(shapes["of_kind"], {"kind": "2"}, "acme")) == []


async def test_documents_lacking_a_field_are_not_matched(store: DocumentStore, shapes: Shapes) -> None:
    """Absent is not None."""
    await store.commit([Create(Key("things", "acme", "a"), {"kind": "k"}), thing("b", None)])
    assert await ids(store, Query(shapes["by_rank"], {"kind": "k"}, "acme")) == ["b"]


@pytest.mark.parametrize("name", ["by_rank", "by_rank_down"])
async def test_bounds_are_inclusive_and_of_one_type(store: DocumentStore, shapes: Shapes, name: str) -> None:
    """Both ends belong to the range; one bound alone matches values of its type only."""
    values: list[Value] = [None, True, 1, 2, 3, 4, "2", b"3"]
    await store.commit([thing(f"{value!r}", value) for value in values])
    query = Query(shapes[name], {"kind": "k"}, "acme")
    assert sorted(await ids(store, replace(query, lower=2, upper=3))) == ["2", "3"]
    assert sorted(await ids(store, replace(query, lower=3))) == ["3", "4"]
    assert sorted(await ids(store, replace(query, upper=1.5))) == ["1"]
    assert sorted(await ids(store, replace(query, lower=""))) == ["'2'"]
    assert await ids(store, replace(query, lower=3, upper=2)) == []


async def test_tenants_are_apart_unless_the_shape_says_all(store: DocumentStore, shapes: Shapes) -> None:
    """A query sees its tenant's documents; one over all tenants breaks ties by tenant, then id."""
    await store.commit(
        [thing("b", 1), thing("a", 1, tenant="zeta"), thing("c", 1), thing("d", 0, tenant="zeta")]
    )
    assert await ids(store, Query(shapes["by_rank"], {"kind": "k"}, "acme")) == ["b", "c"]
    assert await ids(store, Query(shapes["everywhere"])) == ["d", "b", "c", "a"]


async def test_pages_end_exactly(store: DocumentStore, shapes: Shapes) -> None:
    """`next_cursor` is None exactly when there is no more, also when the last page is full."""
    await store.commit([thing(f"{n}", n) for n in range(6)])
    query = Query(shapes["by_rank"], {"kind": "k"}, "acme", lower=1)
    assert await all_ids(store, replace(query, limit=2)) == [["1", "2"], ["3", "4"], ["5"]]
    assert await all_ids(store, replace(query, limit=5)) == [["1", "2", "3", "4", "5"]]
    assert await all_ids(store, replace(query, lower=99)) == [[]]


async def test_paging_while_others_write(store: DocumentStore, shapes: Shapes) -> None:
    """Removing what was last returned, or adding before it, neither repeats nor skips the rest."""
    await store.commit([thing(f"{n}", n) for n in range(4)])
    query = Query(shapes["by_rank"], {"kind": "k"}, "acme", limit=2)
    first = await store.query(query)
    await store.commit([Delete(Key("things", "acme", "1")), thing("new", 0.5), thing("late", 2.5)])
    assert await ids(store, replace(query, cursor=first.next_cursor, limit=9)) == ["2", "late", "3"]


async def test_writes_move_documents_in_the_order(store: DocumentStore, shapes: Shapes) -> None:
    """Every kind of write is seen by the queries that follow it, and by no stale entry."""
    query = Query(shapes["by_rank"], {"kind": "k"}, "acme")
    await store.commit([thing(f"{n}", n) for n in range(3)])
    zero = Key("things", "acme", "0")
    await store.commit([Update(zero, {"rank": 9})])
    assert await ids(store, query) == ["1", "2", "0"]
    await store.commit([Update(zero, {"colour": "red"})])
    (*_, last) = (await store.query(query)).documents
    assert last.data["colour"] == "red"
    await store.commit([Set(zero, {"kind": "other", "rank": 1}), Delete(Key("things", "acme", "1"))])
    assert await ids(store, query) == ["2"]
    await store.commit([Delete(zero), thing("0", 0)])
    assert await ids(store, query) == ["0", "2"]


async def test_expired_documents_are_not_found(
    store: DocumentStore, shapes: Shapes, clock: ManualClock
) -> None:
    """Expired documents are absent from queries, and do not shorten a page."""
    for n in range(6):
        moment = clock.now() + timedelta(seconds=1 + n % 2)
        await store.commit([Create(Key("leases", "acme", f"{n}"), {"owner": "me", "expire_time": moment})])
    clock.advance(1)
    query = Query(shapes["leases_by_owner"], {"owner": "me"}, "acme", limit=2)
    assert await all_ids(store, query) == [["1", "3"], ["5"]]
    await store.sweep_expired()
    assert await all_ids(store, query) == [["1", "3"], ["5"]]


async def test_undeclared_shapes_are_refused(store: DocumentStore, shapes: Shapes) -> None:
    """A shape that was not declared is INTERNAL, even under a declared name."""
    assert await refusal(store, Query(QueryShape("x", "things"), {}, "acme")) is ErrorKind.INTERNAL
    altered = replace(shapes["by_rank"], order=())
    assert await refusal(store, Query(altered, {"kind": "k"}, "acme")) is ErrorKind.INTERNAL


async def test_queries_that_do_not_fit_are_refused(store: DocumentStore, shapes: Shapes) -> None:
    """Missing or surplus values, a missing or surplus tenant, bad limits and bounds: INVALID_ARGUMENT."""
    good = Query(shapes["by_rank"], {"kind": "k"}, "acme")
    bad = [
        replace(good, equals={}),
        replace(good, equals={"kind": "k", "rank": 1}),
        replace(good, equals={"kind": ["k"]}),
        replace(good, tenant=None),
        replace(good, limit=0),
        replace(good, limit=1001),
        replace(good, lower=1, upper="x"),
        replace(good, cursor="nonsense"),
        replace(good, cursor="ü"),
        Query(shapes["everywhere"], {}, "acme"),
        Query(shapes["of_kind"], {"kind": "k"}, "acme", lower=1),
    ]
    for query in bad:
        assert await refusal(store, query) is ErrorKind.INVALID_ARGUMENT, query


async def test_cursors_belong_to_their_query(store: DocumentStore, shapes: Shapes) -> None:
    """A cursor opens nothing but the query it came from: no other tenant, value or shape."""
    await store.commit([thing(f"{n}", n) for n in range(3)])
    query = Query(shapes["by_rank"], {"kind": "k"}, "acme", limit=1)
    cursor = (await store.query(query)).next_cursor
    others = (
        replace(query, tenant="zeta"),
        replace(query, equals={"kind": "x"}),
        replace(query, shape=shapes["by_rank_down"]),
    )
    for other in others:
        assert await refusal(store, replace(other, cursor=cursor)) is ErrorKind.INVALID_ARGUMENT
    assert await ids(store, replace(query, cursor=cursor, lower=2)) == ["2"]


@pytest.mark.parametrize("rank", [["list"], {"a": "map"}, "x" * 1501, b"x" * 1501])
async def test_indexed_fields_hold_single_short_values(store: DocumentStore, rank: Value) -> None:
    """What could not be ordered everywhere is refused when it is written."""
    with pytest.raises(ServiceError) as caught:
        await store.commit([thing("a", rank)])
    assert (caught.value.kind, caught.value.violations[0].field) == (ErrorKind.INVALID_ARGUMENT, "data.rank")


# Firestore reads one moment, but its emulator shows commits half applied, whatever is asked of it. That one
# moment is asked for, test_firestore_reads.py shows.
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_a_page_is_of_one_moment(store: DocumentStore, shapes: Shapes) -> None:
    """Documents that change together are never seen apart."""
    keys = [Key("things", "acme", f"{n}") for n in range(20)]

    async def write() -> None:
        for count in range(20):
            await store.commit([Set(key, {"kind": "k", "count": count}) for key in keys])

    await store.commit([Set(key, {"kind": "k", "count": -1}) for key in keys])
    writing = asyncio.create_task(write())
    while not writing.done():
        page = await store.query(Query(shapes["of_kind"], {"kind": "k"}, "acme"))
        assert len({each.data["count"] for each in page.documents}) == 1
        assert len({each.data["count"] for each in await store.get_many(keys) if each}) == 1
        await asyncio.sleep(0)
    await writing


def tagged(name: str, rank: Value, tags: Value) -> Create:
    """Make the creation of a document with a list that a shape looks into."""
    return Create(Key("things", "acme", name), {"kind": "k", "rank": rank, "name": name, "tags": tags})


async def test_lists_are_looked_into(store: DocumentStore, shapes: Shapes) -> None:
    """A document matches by each element of its list, once, in the shape's order, page by page."""
    await store.commit(
        [
            tagged("a", 1, ["x", "y"]),
            tagged("b", 2, ["x", "x"]),
            tagged("c", 3, ["y"]),
            tagged("d", 4, [7, "x"]),
            tagged("e", 5, "x"),
            tagged("f", 6, []),
            thing("g", 7),
        ]
    )
    query = Query(shapes["tagged"], {"kind": "k"}, "acme", contains="x", limit=2)
    assert await all_ids(store, query) == [["d", "b"], ["a"]]
    assert await ids(store, replace(query, contains=7)) == ["d"]
    assert await ids(store, replace(query, contains="x", upper=2)) == ["b", "a"]
    assert await ids(store, replace(query, contains="z")) == []


async def test_lists_follow_their_documents(store: DocumentStore, shapes: Shapes) -> None:
    """An element that is taken out no longer matches; one that is put in does."""
    await store.commit([tagged("a", 1, ["x", "y"])])
    await store.commit([Update(Key("things", "acme", "a"), {"tags": ["y", "z"]})])
    query = Query(shapes["tagged"], {"kind": "k"}, "acme", contains="x")
    assert await ids(store, query) == []
    assert await ids(store, replace(query, contains="z")) == ["a"]


async def test_lists_within_limits(store: DocumentStore, shapes: Shapes) -> None:
    """A list too long, or of what cannot be indexed, is refused by name; so is a query without the value."""
    for tags in ([*range(101)], [{"a": 1}]):
        with pytest.raises(ServiceError) as caught:
            await store.commit([tagged("a", 1, tags)])
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
        assert "data.tags" in str(caught.value)
    assert await refusal(store, Query(shapes["tagged"], {"kind": "k"}, "acme")) is ErrorKind.INVALID_ARGUMENT
    odd = Query(shapes["of_kind"], {"kind": "k"}, "acme", contains="x")
    assert await refusal(store, odd) is ErrorKind.INVALID_ARGUMENT
