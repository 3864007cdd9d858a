"""From declared shapes to the Firestore indexes that serve them: exactly these, and none besides.

The rules are those Firestore documents for its Standard edition in native mode ("Index types in Firestore",
cloud.google.com/firestore/native/docs/concepts/index-overview, called [index-overview] below; for ties and
`__name__` also the reference of the Admin API's `Index`). The emulator answers queries without any index, so
nothing else would notice one that is missing before a real database refuses the query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from service_common.storage.shapes import Direction, QueryShape, Schema

BODY_FIELD = "body"
"""Where a document's packed contents are; never indexed, so no shape may name it."""

NAME_FIELD = "__name__"
"""The document's path, the last field of every index: what breaks ties."""

_SIMPLE_PATH = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_RESERVED = re.compile(r"__.*__")


class Scope(Enum):
    """Which collections an index joins: one parent's, or all of the same id."""

    COLLECTION = "COLLECTION"
    COLLECTION_GROUP = "COLLECTION_GROUP"


class Mode(Enum):
    """What an index can do with a field. Both orders also serve equality."""

    ASCENDING = "ASCENDING"
    DESCENDING = "DESCENDING"
    CONTAINS = "CONTAINS"


class Rule(Enum):
    """Why a shape needs what it needs; the value is the sentence people read."""

    BUILT_IN = "no filter and no order: Firestore keeps documents by name without being told"
    SINGLE_FIELD = "one field only: its single-field index"
    MERGED = "equalities only: their single-field indexes are merged"
    EQUALITY_AND_ORDER = "equality and order by another field: a composite index"
    SEVERAL_ORDERS = "order by several fields: a composite index"
    LIST_AND_MORE = "a look into a list and more besides: a composite index"


@dataclass(frozen=True, slots=True)
class FieldMode:
    """A field as an index holds it."""

    field: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite index.

    Attributes:
        group: The id of the collections it is over.
        scope: Of one tenant, or over all.
        fields: In index order; the last is `__name__`.
    """

    group: str
    scope: Scope
    fields: tuple[FieldMode, ...]


@dataclass(frozen=True, slots=True)
class SingleIndex:
    """One single-field index that a field keeps."""

    scope: Scope
    mode: Mode


@dataclass(frozen=True, slots=True)
class Served:
    """What answers one shape.

    Attributes:
        shape: The query.
        group: The id of the collections it looks into.
        scope: Of one tenant, or over all.
        rule: Which of the documented rules applies.
        composite: The composite index it needs; None for none.
        singles: The single-field indexes it needs, each with its field.
    """

    shape: QueryShape
    group: str
    scope: Scope
    rule: Rule
    composite: Composite | None
    singles: tuple[tuple[str, SingleIndex], ...]


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """How one stored field is indexed, in place of Firestore's defaults.

    Attributes:
        group: The id of its collections.
        field: Its name.
        indexes: The single-field indexes it keeps, in a fixed order; none exempts it altogether.
        ttl: Whether it says when its document expires.
    """

    group: str
    field: str
    indexes: tuple[SingleIndex, ...]
    ttl: bool


@dataclass(frozen=True, slots=True)
class Entries:
    """Index entries Firestore writes with a document that has every indexed field.

    Attributes:
        fixed: Whatever the document holds.
        per_element: Besides, for each element of the list of that name.
    """

    fixed: int
    per_element: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Requirements:
    """All that one schema needs in Firestore.

    Attributes:
        schema: Whose.
        served: Its shapes in the order of declaration, each with what answers it.
        composites: The composite indexes, each once, by collection.
        fields: The settings of every stored field, by collection.
    """

    schema: Schema
    served: tuple[Served, ...]
    composites: tuple[Composite, ...]
    fields: tuple[FieldSettings, ...]

    def entries(self, collection: str) -> Entries:
        """Return what a write of a new document costs in index entries.

        Per document one entry for each index; of an index that looks into a list, one for each element
        ([index-overview], "Index entries"). A later write pays for entries whose values it changes.
        """
        group = collection_group(self.schema, collection)
        indexes = [each.fields for each in self.composites if each.group == group]
        for settings in self.fields:
            if settings.group == group:
                indexes += [(FieldMode(settings.field, each.mode),) for each in settings.indexes]
        return _entries(indexes)

    def default_entries(self, collection: str) -> Entries:
        """Return what the same write would cost without exemptions.

        By default Firestore indexes every field in both orders, and lists by element too
        ([index-overview], "Automatic indexing"); nothing over all tenants, which such queries need anyway.
        """
        group = collection_group(self.schema, collection)
        lists = {each.shape.contains for each in self.served if each.group == group}
        indexes = [each.fields for each in self.composites if each.group == group]
        for settings in self.fields:
            if settings.group != group:
                continue
            modes = [Mode.ASCENDING, Mode.DESCENDING] + [Mode.CONTAINS] * (settings.field in lists)
            kept = {SingleIndex(Scope.COLLECTION, each) for each in modes} | set(settings.indexes)
            indexes += [(FieldMode(settings.field, each.mode),) for each in kept]
        return _entries(indexes)


def collection_group(schema: Schema, collection: str) -> str:
    """Return the id that a collection has in Firestore, under every tenant the same."""
    return f"{schema.name}_{collection}"


def requirements(schema: Schema) -> Requirements:
    """Return the indexes and field settings that serve a schema.

    Raises:
        ValueError: If a field's name cannot stand in an index, or is the one that holds the body.
    """
    served = tuple(_served(schema, shape) for shape in schema.shapes)
    composites = {each.composite for each in served if each.composite is not None}
    return Requirements(
        schema,
        served,
        tuple(sorted(composites, key=lambda each: (each.group, each.scope.value, _by_name(each)))),
        tuple(
            settings
            for collection in schema.collections
            for settings in _settings(schema, served, collection.name)
        ),
    )


def rule_for(shape: QueryShape) -> Rule:
    """Return which of Firestore's rules a shape falls under.

    All from [index-overview]:
    - "Queries supported by collection group indexes": without filter and order none is needed, nor
      is it in one collection.
    - "Queries supported by single-field indexes": one field compared or ordered, one look into a list, and
      equalities on several fields, whose indexes are merged.
    - "Queries supported by composite indexes": equality with an order (or bounds) on another field. A look
      into a list with any further clause: Firestore might merge there, but the page advises against it.
    - "Index properties": the order of several fields is the order of one index.
    """
    named = len(shape.equals) + len(shape.order) + (shape.contains is not None)
    if named == 0:
        return Rule.BUILT_IN
    if named == 1:
        return Rule.SINGLE_FIELD
    if shape.contains is not None:
        return Rule.LIST_AND_MORE
    if not shape.order:
        return Rule.MERGED
    return Rule.EQUALITY_AND_ORDER if shape.equals else Rule.SEVERAL_ORDERS


def _served(schema: Schema, shape: QueryShape) -> Served:
    """Return what answers a shape.

    Over all tenants single-field indexes are off by default, and one of one tenant's scope does not help
    ([index-overview], "Automatic indexing" and "Query scopes").
    """
    group = collection_group(schema, shape.collection)
    scope = Scope.COLLECTION_GROUP if shape.all_tenants else Scope.COLLECTION
    fields = _fields(shape)
    for each in fields:
        _check_field(schema, shape, each.field)
    rule = rule_for(shape)
    if rule in (Rule.BUILT_IN, Rule.SINGLE_FIELD, Rule.MERGED):
        singles = tuple((each.field, SingleIndex(scope, each.mode)) for each in fields)
        return Served(shape, group, scope, rule, None, singles)
    return Served(shape, group, scope, rule, Composite(group, scope, (*fields, _tie(shape))), ())


def _fields(shape: QueryShape) -> tuple[FieldMode, ...]:
    """Return a shape's fields in index order: what is fixed, then what is ordered.

    Fixed fields may stand in any order and either direction; by name and ascending, so that shapes which
    differ in nothing else share an index, and ties are in ascending order of names.
    """
    fixed = [FieldMode(each, Mode.ASCENDING) for each in sorted(shape.equals)]
    listed = [] if shape.contains is None else [FieldMode(shape.contains, Mode.CONTAINS)]
    ordered = [FieldMode(each.field, Mode(each.direction.value)) for each in shape.order]
    return (*fixed, *listed, *ordered)


def _tie(shape: QueryShape) -> FieldMode:
    """Return how an index breaks ties: by name, as the last ordered field goes, else ascending.

    Firestore would add the same by itself (Admin API, `Index.fields`); written out, what is applied is what
    is read back, and Terraform sees no difference.
    """
    descending = bool(shape.order) and shape.order[-1].direction is Direction.DESCENDING
    return FieldMode(NAME_FIELD, Mode.DESCENDING if descending else Mode.ASCENDING)


def _check_field(schema: Schema, shape: QueryShape, field: str) -> None:
    if field == BODY_FIELD or not _SIMPLE_PATH.fullmatch(field) or _RESERVED.fullmatch(field):
        raise ValueError(
            f"{schema.name}: shape {shape.name!r}: {field!r} cannot be an indexed field; use ASCII letters, "
            f"digits and underscores, and neither {BODY_FIELD!r} nor __this_form__"
        )


def _settings(schema: Schema, served: tuple[Served, ...], collection: str) -> tuple[FieldSettings, ...]:
    """Return the settings of everything a collection stores: its body, its TTL field, what shapes name.

    A field of composite indexes alone is exempt like the body: an exemption concerns single-field indexes
    only ([index-overview], "Single-field index exemptions").
    """
    group = collection_group(schema, collection)
    ttl_field = next(each.ttl_field for each in schema.collections if each.name == collection)
    kept: dict[str, set[SingleIndex]] = {BODY_FIELD: set()}
    if ttl_field is not None:
        kept[ttl_field] = set()
    for each in served:
        if each.group == group:
            for field in _fields(each.shape):
                kept.setdefault(field.field, set())
            for name, index in each.singles:
                kept[name].add(index)
    return tuple(
        FieldSettings(group, name, tuple(sorted(indexes, key=_index_order)), ttl=name == ttl_field)
        for name, indexes in sorted(kept.items())
    )


def _entries(indexes: list[tuple[FieldMode, ...]]) -> Entries:
    fixed, per_element = 0, dict[str, int]()
    for fields in indexes:
        looked_into = [each.field for each in fields if each.mode is Mode.CONTAINS]
        if looked_into:
            per_element[looked_into[0]] = per_element.get(looked_into[0], 0) + 1
        else:
            fixed += 1
    return Entries(fixed, tuple(sorted(per_element.items())))


def _index_order(index: SingleIndex) -> tuple[str, str]:
    return index.scope.value, index.mode.value


def _by_name(index: Composite) -> tuple[tuple[str, str], ...]:
    return tuple((each.field, each.mode.value) for each in index.fields)
