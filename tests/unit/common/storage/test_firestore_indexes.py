"""A shape needs the indexes that Firestore's documentation says: each rule, with its example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_common.storage import Collection, Direction, Order, QueryShape, Schema
from service_common.storage.firestore.indexes import (
    BODY_FIELD,
    NAME_FIELD,
    Composite,
    Entries,
    FieldMode,
    FieldSettings,
    Mode,
    Requirements,
    Rule,
    Scope,
    Served,
    SingleIndex,
    collection_group,
    requirements,
)
from service_common.storage.firestore.layout import BODY, Layout, native_fields

ASC, DESC, CONTAINS = Mode.ASCENDING, Mode.DESCENDING, Mode.CONTAINS
TENANT, ALL = Scope.COLLECTION, Scope.COLLECTION_GROUP
DOWN = Direction.DESCENDING


def needs(*shapes: QueryShape, ttl_field: str | None = None) -> Requirements:
    """Return what shapes over the collection `cities` need."""
    return requirements(Schema((Collection("cities", ttl_field=ttl_field),), shapes, name="atlas"))


def served(
    *equals: str, order: tuple[Order, ...] = (), contains: str | None = None, over_all: bool = False
) -> Served:
    """Return what answers one shape."""
    shape = QueryShape("q", "cities", equals, order, all_tenants=over_all, contains=contains)
    return needs(shape).served[0]


def settings(needed: Requirements) -> dict[str, FieldSettings]:
    """Return the settings of each field."""
    return {each.field: each for each in needed.fields}


def index(*fields: tuple[str, Mode], scope: Scope = TENANT) -> tuple[Scope, list[tuple[str, Mode]]]:
    """Return a composite index as `flat` does."""
    return scope, list(fields)


def flat(composite: Composite | None) -> tuple[Scope, list[tuple[str, Mode]]] | None:
    """Return a composite index without its types."""
    if composite is None:
        return None
    assert composite.group == "atlas_cities"
    return composite.scope, [(each.field, each.mode) for each in composite.fields]


@pytest.mark.parametrize("over_all", [False, True])
def test_all_documents_by_name_need_nothing(*, over_all: bool) -> None:
    """Without filter and order neither a tenant's query nor one over all tenants needs an index."""
    found = served(over_all=over_all)
    assert (found.rule, found.composite, found.singles) == (Rule.BUILT_IN, None, ())


@pytest.mark.parametrize(
    ("found", "single"),
    [
        (served("state"), ("state", SingleIndex(TENANT, ASC))),
        (served(order=(Order("name"),)), ("name", SingleIndex(TENANT, ASC))),
        (served(order=(Order("name", DOWN),)), ("name", SingleIndex(TENANT, DESC))),
        (served(contains="regions"), ("regions", SingleIndex(TENANT, CONTAINS))),
        (served("category", over_all=True), ("category", SingleIndex(ALL, ASC))),
        (served(order=(Order("name", DOWN),), over_all=True), ("name", SingleIndex(ALL, DESC))),
        (served(contains="regions", over_all=True), ("regions", SingleIndex(ALL, CONTAINS))),
    ],
)
def test_one_field_needs_its_single_field_index(found: Served, single: tuple[str, SingleIndex]) -> None:
    """Exactly one, in the order and of the scope that the query has."""
    assert (found.rule, found.composite, found.singles) == (Rule.SINGLE_FIELD, None, (single,))


@pytest.mark.parametrize(("over_all", "scope"), [(False, TENANT), (True, ALL)])
def test_equalities_are_merged(*, over_all: bool, scope: Scope) -> None:
    """The documented compound equality: any number of fields, their single-field indexes, no composite."""
    found = served("country", "capital", "state", "population", over_all=over_all)
    assert (found.rule, found.composite) == (Rule.MERGED, None)
    assert set(found.singles) == {
        (name, SingleIndex(scope, ASC)) for name in ("country", "capital", "state", "population")
    }


@pytest.mark.parametrize(
    ("found", "rule", "expected"),
    [
        (
            served("country", order=(Order("population"),)),
            Rule.EQUALITY_AND_ORDER,
            index(("country", ASC), ("population", ASC), ("__name__", ASC)),
        ),
        (
            served("country", order=(Order("population", DOWN),)),
            Rule.EQUALITY_AND_ORDER,
            index(("country", ASC), ("population", DESC), ("__name__", DESC)),
        ),
        (
            served("country", order=(Order("population", DOWN), Order("name")), over_all=True),
            Rule.EQUALITY_AND_ORDER,
            index(("country", ASC), ("population", DESC), ("name", ASC), ("__name__", ASC), scope=ALL),
        ),
        (
            served(order=(Order("country"), Order("population", DOWN))),
            Rule.SEVERAL_ORDERS,
            index(("country", ASC), ("population", DESC), ("__name__", DESC)),
        ),
        (
            served(order=(Order("population"),), contains="regions"),
            Rule.LIST_AND_MORE,
            index(("regions", CONTAINS), ("population", ASC), ("__name__", ASC)),
        ),
        (
            served("capital", contains="regions"),
            Rule.LIST_AND_MORE,
            index(("capital", ASC), ("regions", CONTAINS), ("__name__", ASC)),
        ),
        (
            served("capital", order=(Order("population", DOWN),), contains="regions"),
            Rule.LIST_AND_MORE,
            index(("capital", ASC), ("regions", CONTAINS), ("population", DESC), ("__name__", DESC)),
        ),
    ],
)
def test_more_than_that_needs_a_composite(
    found: Served, rule: Rule, expected: tuple[Scope, list[tuple[str, Mode]]]
) -> None:
    """Fixed fields first, then the order, then the name as the last order goes; no single fields."""
    assert (found.rule, flat(found.composite), found.singles) == (rule, expected, ())


def test_equal_needs_share_an_index() -> None:
    """Queries that differ in name and in the sequence of their equalities are served by one index."""
    by_name = (Order("name"),)
    needed = needs(
        QueryShape("a", "cities", ("state", "country"), by_name),
        QueryShape("b", "cities", ("country", "state"), by_name),
    )
    assert len(needed.composites) == 1


def test_scopes_and_directions_are_not_shared() -> None:
    """Neither over all tenants nor the other way round will the same index do."""
    needed = needs(
        QueryShape("up", "cities", ("state",), (Order("name"),)),
        QueryShape("down", "cities", ("state",), (Order("name", DOWN),)),
        QueryShape("all", "cities", ("state",), (Order("name"),), all_tenants=True),
    )
    assert len(needed.composites) == 3


def test_a_field_keeps_only_the_single_field_indexes_a_query_uses() -> None:
    """The contents, the expiry and fields of composites alone are exempt; others keep what is asked."""
    needed = needs(
        QueryShape("newest", "cities", order=(Order("founded", DOWN),)),
        QueryShape("newest_of_all", "cities", order=(Order("founded", DOWN),), all_tenants=True),
        QueryShape("of_state", "cities", ("state",), (Order("founded"),)),
        ttl_field="expire_time",
    )
    both = (SingleIndex(TENANT, DESC), SingleIndex(ALL, DESC))
    assert settings(needed) == {
        BODY_FIELD: FieldSettings("atlas_cities", BODY_FIELD, (), ttl=False),
        "expire_time": FieldSettings("atlas_cities", "expire_time", (), ttl=True),
        "founded": FieldSettings("atlas_cities", "founded", both, ttl=False),
        "state": FieldSettings("atlas_cities", "state", (), ttl=False),
    }


def test_an_expiry_that_is_asked_for_keeps_its_index() -> None:
    """A query by the TTL field works, and the field still says when the document expires."""
    needed = needs(QueryShape("next", "cities", order=(Order("expire_time"),)), ttl_field="expire_time")
    assert settings(needed)["expire_time"] == FieldSettings(
        "atlas_cities", "expire_time", (SingleIndex(TENANT, ASC),), ttl=True
    )


def test_collections_do_not_mix() -> None:
    """A field of the same name in another collection keeps nothing."""
    schema = Schema(
        (Collection("cities"), Collection("towns")),
        (QueryShape("q", "cities", ("state",)), QueryShape("r", "towns", ("state",), (Order("name"),))),
        name="atlas",
    )
    found = {(each.group, each.field): each.indexes for each in requirements(schema).fields}
    assert found["atlas_cities", "state"] == (SingleIndex(TENANT, ASC),)
    assert found["atlas_towns", "state"] == ()
    assert requirements(schema).entries("towns") == Entries(1)


def test_entries_are_counted_as_firestore_counts_them() -> None:
    """One for each index; of an index that looks into a list, one for each element."""
    needed = needs(
        QueryShape("a", "cities", ("capital",), (Order("name"),)),
        QueryShape("b", "cities", order=(Order("name", DOWN),)),
        QueryShape("c", "cities", contains="regions"),
        QueryShape("d", "cities", ("capital",), contains="regions"),
    )
    assert needed.entries("cities") == Entries(2, (("regions", 2),))


def test_entries_without_exemptions_are_those_of_the_defaults() -> None:
    """Both directions of each of body, capital, name and regions, the list by element, and the composites."""
    needed = needs(
        QueryShape("a", "cities", ("capital",), (Order("name"),)),
        QueryShape("b", "cities", contains="regions"),
        QueryShape("c", "cities", ("capital",), all_tenants=True),
    )
    assert needed.default_entries("cities") == Entries(8 + 1 + 1, (("regions", 1),))


@pytest.mark.parametrize("name", ["body", "über", "two words", "1st", "__this__", "a-b"])
def test_a_field_that_no_index_can_hold_is_refused(name: str) -> None:
    """Where it is declared, by name, rather than by Firestore when it is applied."""
    with pytest.raises(ValueError, match=f"atlas: shape 'q': {name!r}"):
        served(name)


def test_what_is_stored_beside_the_body_is_what_has_settings() -> None:
    """The backend's names are those of the indexes: no field is stored that keeps Firestore's defaults."""
    schema = Schema(
        (Collection("cities", ttl_field="expire_time"), Collection("towns")),
        (
            QueryShape("a", "cities", ("capital",), (Order("name"),), contains="regions"),
            QueryShape("b", "towns", order=(Order("name"),), all_tenants=True),
        ),
        name="atlas",
    )
    needed, layout = requirements(schema), Layout(schema, "projects/p/databases/d")
    for each in schema.collections:
        group = collection_group(schema, each.name)
        named = {settings.field for settings in needed.fields if settings.group == group}
        assert group == layout.collection_id(each.name)
        assert named == {BODY, *native_fields(schema, each.name)}


@st.composite
def shapes(draw: st.DrawFn) -> QueryShape:
    """Draw any shape over four fields and a list."""
    names = draw(st.permutations(["a", "b", "c", "d"]))
    equals, ordered = sorted(draw(st.tuples(st.integers(0, 4), st.integers(0, 4))))
    order = tuple(Order(each, draw(st.sampled_from(Direction))) for each in names[equals:ordered])
    contains = draw(st.sampled_from([None, "tags"]))
    return QueryShape("q", "cities", tuple(names[:equals]), order, contains=contains)


VALUES = st.integers(0, 1)
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={**dict.fromkeys("abcd", VALUES), "tags": st.lists(VALUES, max_size=3, unique=True)}
    ),
    max_size=12,
)


@given(shape=shapes(), documents=DOCUMENTS, value=VALUES)
def test_the_indexes_hold_the_answer_in_order(
    shape: QueryShape, documents: list[dict[str, Any]], value: int
) -> None:
    """Reading the needed indexes, as documented, one range each, gives what the shape promises."""
    stored = {f"id-{number:02}": each for number, each in enumerate(documents)}
    assert read(needs(shape).served[0], stored, value) == answer(shape, stored, value)


def answer(shape: QueryShape, stored: Mapping[str, Mapping[str, Any]], value: int) -> list[str]:
    """Return the ids that match, found without an index; every fixed field is asked for the same value."""
    listed = [] if shape.contains is None else [shape.contains]
    named = [*shape.equals, *listed, *(each.field for each in shape.order)]
    found = [
        name
        for name, data in stored.items()
        if all(each in data for each in named)
        and all(data[each] == value for each in shape.equals)
        and all(value in data[each] for each in listed)
    ]
    found.sort(reverse=bool(shape.order) and shape.order[-1].direction is DOWN)
    for each in reversed(shape.order):
        found.sort(key=lambda name, field=each.field: stored[name][field], reverse=each.direction is DOWN)  # type: ignore[misc]  # mypy does not see the default's type
    return found


def read(found: Served, stored: Mapping[str, Mapping[str, Any]], value: int) -> list[str]:
    """Return the ids the indexes give: one range of a composite, or what ranges of single fields share."""
    fixed = {*found.shape.equals, found.shape.contains}
    if found.composite is not None:
        return scan(found.composite.fields, stored, fixed=fixed, value=value)
    ranges = [sorted(stored)]
    for name, single in found.singles:
        tie = FieldMode(NAME_FIELD, ASC if single.mode is CONTAINS else single.mode)
        ranges.append(scan((FieldMode(name, single.mode), tie), stored, fixed=fixed, value=value))
    shared = [name for name in ranges[-1] if all(name in each for each in ranges)]
    # Merging walks all ranges at once, so they must run in one order.
    assert all([name for name in each if name in shared] == shared for each in ranges[1:])
    return shared


def scan(
    fields: Sequence[FieldMode],
    stored: Mapping[str, Mapping[str, Any]],
    *,
    fixed: set[str | None],
    value: int,
) -> list[str]:
    """Return the ids in an index's one range where the fixed fields have the value."""
    entries = []
    for name, data in stored.items():
        if all(each.field in data for each in fields[:-1]):
            held = [data[each.field] if each.mode is CONTAINS else [data[each.field]] for each in fields[:-1]]
            entries += [(*values, name) for values in product(*held)]
    for place in reversed(range(len(fields))):
        entries.sort(key=lambda entry, at=place: entry[at], reverse=fields[place].mode is DESC)  # type: ignore[misc]  # as above
    matching = [
        number
        for number, entry in enumerate(entries)
        if all(entry[place] == value for place, each in enumerate(fields) if each.field in fixed)
    ]
    assert matching == list(range(matching[0], matching[-1] + 1) if matching else [])
    return [entries[number][-1] for number in matching]
