"""What a service declares about its documents: collections and the queries it will ever ask.

Indexes are built from these declarations, in SQLite as in Firestore, so a query outside them is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from service_common.errors import ErrorKind, ServiceError, invalid_field
from service_common.storage.documents import Document, Key, Value

MAX_PAGE_SIZE = 1000
"""Most documents one query returns."""

MAX_CONTAINED = 100
"""Most elements of a list that a shape looks into; each is an index entry to write."""


class Direction(Enum):
    """Which way a field is ordered."""

    ASCENDING = "ASCENDING"
    DESCENDING = "DESCENDING"


@dataclass(frozen=True, slots=True)
class Order:
    """One field of an ordering.

    Attributes:
        field: A top-level field.
        direction: Which way.
    """

    field: str
    direction: Direction = Direction.ASCENDING


@dataclass(frozen=True, slots=True)
class Collection:
    """A kind of document.

    Attributes:
        name: Unique within the schema.
        ttl_field: The datetime field after which a document is absent; None keeps documents forever.
    """

    name: str
    ttl_field: str | None = None


@dataclass(frozen=True, slots=True)
class QueryShape:
    """A query the service will ask: documents equal in some fields, ordered by others.

    Documents lacking a named field are not matched, nor are those whose `contains` field is no list. Ties
    are broken by document id (with `all_tenants` by tenant, then id), in the direction of the last ordered
    field. Fields are top-level; what they hold must be a single value, except in the `contains` field.

    Attributes:
        name: Unique within the schema.
        collection: Of which documents.
        equals: The fields a query gives a value for.
        order: The ordering; the first of them may be bounded by a query.
        all_tenants: True to look at all tenants at once, for the service's own housekeeping.
        contains: A field that holds a list of at most `MAX_CONTAINED` single values, of which a query names
            one; None for no such field.
    """

    name: str
    collection: str
    equals: tuple[str, ...] = ()
    order: tuple[Order, ...] = ()
    all_tenants: bool = False
    contains: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a declared shape.

    Attributes:
        shape: Which declared shape.
        equals: A value for every field in `shape.equals`, no other.
        tenant: Whose documents; None exactly for shapes over all tenants.
        lower: Least value of the first ordered field, inclusive; None for no bound. A bound matches values
            of its own type only.
        upper: Greatest value of the first ordered field, inclusive; None for no bound.
        limit: Most documents in the page, 1 to `MAX_PAGE_SIZE`.
        cursor: `Page.next_cursor` of the page before, of the same query.
        contains: The value that the list in `shape.contains` must hold; None exactly for shapes without one.
    """

    shape: QueryShape
    equals: Mapping[str, Value] = field(default_factory=dict)
    tenant: str | None = None
    lower: Value = None
    upper: Value = None
    limit: int = 100
    cursor: str | None = None
    contains: Value = None


@dataclass(frozen=True, slots=True)
class Page:
    """A query's answer.

    Attributes:
        documents: In the shape's order.
        next_cursor: Where the next page starts; None exactly when there is no more.
    """

    documents: tuple[Document, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Schema:
    """All a service stores and asks.

    Attributes:
        collections: What is stored.
        shapes: What is asked.
        name: The service's; services that share a database keep apart by it.

    Raises:
        ValueError: If the declarations contradict themselves; the message names the one at fault.
    """

    collections: tuple[Collection, ...]
    shapes: tuple[QueryShape, ...] = ()
    name: str = "store"

    def __post_init__(self) -> None:
        _refuse_repeats("collection", [each.name for each in self.collections])
        _refuse_repeats("shape", [each.name for each in self.shapes])
        names = {each.name for each in self.collections}
        _check_declared_name("schema", self.name)
        for each in self.collections:
            _check_declared_name("collection", each.name)
        for shape in self.shapes:
            _check_shape(shape, names)

    def check_key(self, key: Key) -> None:
        """Refuse a key of a collection that was not declared.

        Raises:
            ServiceError: INTERNAL; the service is at fault, not its caller.
        """
        if all(key.collection != each.name for each in self.collections):
            raise ServiceError(
                ErrorKind.INTERNAL, "UNDECLARED_COLLECTION", f"collection {key.collection!r} is not declared"
            )

    def check_query(self, query: Query) -> None:
        """Refuse a query that no declared shape answers.

        Raises:
            ServiceError: INTERNAL if the shape is not declared; INVALID_ARGUMENT if the query does not fit
                it.
        """
        shape = query.shape
        if shape not in self.shapes:
            raise ServiceError(
                ErrorKind.INTERNAL, "UNDECLARED_SHAPE", f"query shape {shape.name!r} is not declared"
            )
        if set(query.equals) != set(shape.equals):
            raise invalid_field("query.equals", f"must name exactly {sorted(shape.equals)}")
        if (query.contains is None) != (shape.contains is None):
            raise invalid_field("query.contains", "must be given exactly for shapes that look into a list")
        if (query.tenant is None) != shape.all_tenants:
            raise invalid_field("query.tenant", "must be given, except for shapes over all tenants")
        if not 1 <= query.limit <= MAX_PAGE_SIZE:
            raise invalid_field("query.limit", f"must be 1 to {MAX_PAGE_SIZE}")
        if not shape.order and (query.lower is not None or query.upper is not None):
            raise invalid_field("query.lower", "bounds need an ordered field")


def _check_shape(shape: QueryShape, collections: set[str]) -> None:
    _check_declared_name("shape", shape.name)
    if shape.collection not in collections:
        raise ValueError(f"shape {shape.name!r}: collection {shape.collection!r} is not declared")
    contains = [] if shape.contains is None else [shape.contains]
    fields = [*shape.equals, *contains, *(each.field for each in shape.order)]
    _refuse_repeats(f"shape {shape.name!r}: field", fields)
    for each in fields:
        if not each or "." in each:
            raise ValueError(f"shape {shape.name!r}: {each!r} is not a top-level field")


def _check_declared_name(what: str, name: str) -> None:
    if not name.isascii() or not name.replace("_", "").isalnum():
        raise ValueError(f"{what} {name!r}: names are ASCII letters, digits and underscores")


def _refuse_repeats(what: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{what} {name!r} is declared {count} times")
