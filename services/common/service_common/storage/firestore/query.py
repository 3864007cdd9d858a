"""From a declared query to Firestore's structured query, page by page, all of a page read at one moment."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from google.cloud.firestore_v1.types import firestore as rpc
from google.cloud.firestore_v1.types import query as query_types

from service_common.errors import ServiceError, invalid_field
from service_common.storage.documents import Document, Key, Value
from service_common.storage.encoding import pack, unpack
from service_common.storage.firestore.connection import Connection
from service_common.storage.firestore.layout import Layout, native
from service_common.storage.indexing import IndexPlan
from service_common.storage.shapes import Direction, Page, Query

_RunQuery: Any = rpc.RunQueryRequest.pb()
_Filter: Any = query_types.StructuredQuery.Filter.pb()
_Operator = query_types.StructuredQuery.FieldFilter.Operator
_IS_NULL = query_types.StructuredQuery.UnaryFilter.Operator.IS_NULL
_AND = query_types.StructuredQuery.CompositeFilter.Operator.AND
_DIRECTIONS = {
    Direction.ASCENDING: query_types.StructuredQuery.Direction.ASCENDING,
    Direction.DESCENDING: query_types.StructuredQuery.Direction.DESCENDING,
}
_SEAL_BYTES = 6
_SIMPLE_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_NAME_FIELD = "__name__"


@dataclass(frozen=True, slots=True)
class Position:
    """A document's place in a query's order.

    Attributes:
        values: Of the ordered fields.
        key: Breaks ties.
    """

    values: tuple[Value, ...]
    key: Key

    @staticmethod
    def of(query: Query, document: Document) -> Position:
        """Return where the document is."""
        return Position(tuple(document.data[each.field] for each in query.shape.order), document.key)


async def page(connection: Connection, layout: Layout, plan: IndexPlan, query: Query, now: int) -> Page:
    """Return a page of the documents that match and are not expired at `now`, in microseconds since 1970."""
    # The other backends' plan knows what fits a shape; its prefix is the query's identity, as theirs is.
    seal = sha256(plan.scan(replace(query, cursor=None)).prefix).digest()[:_SEAL_BYTES]
    after = None if query.cursor is None else _opened(query, seal)
    request = _request(layout, query)
    found: list[Document] = []
    expired = 0
    while True:
        if after is not None:
            _start_after(request.structured_query, layout, after)
        answers = await connection.run_query(request)
        rows = [layout.row(each.document) for each in answers if each.HasField("document")]
        alive = [row.document(key) for key, row in rows if not row.is_expired(now)]
        found += alive
        expired += len(rows) - len(alive)
        if len(found) > query.limit or len(rows) < request.structured_query.limit.value:
            break
        # Expired ones shortened the page: go on behind them, still at the moment of the first answer, for
        # what is missing, and for more where many have expired: reads are billed, and calls take time.
        key, row = rows[-1]
        after = Position.of(query, row.document(key))
        missing = query.limit + 1 - len(found)
        request.structured_query.limit.value = min(query.limit + 1, max(missing, 2 * expired))
        request.read_time.CopyFrom(answers[0].read_time)
    documents = tuple(found[: query.limit])
    more = len(found) > query.limit
    return Page(documents, _sealed(Position.of(query, documents[-1]), seal) if more else None)


def _request(layout: Layout, query: Query) -> Any:
    shape = query.shape
    request = _RunQuery()
    request.parent = layout.root if query.tenant is None else layout.parent(query.tenant)
    structured = request.structured_query
    source = structured.from_.add()
    source.collection_id = layout.collection_id(shape.collection)
    source.all_descendants = shape.all_tenants
    _filter(structured.where, _filters(query))
    for each in shape.order:
        _order(structured, _path(each.field), each.direction)
    _order(structured, _NAME_FIELD, shape.order[-1].direction if shape.order else Direction.ASCENDING)
    structured.limit.value = query.limit + 1
    return request


def _order(structured: Any, path: str, direction: Direction) -> None:
    order = structured.order_by.add()
    order.field.field_path = path
    order.direction = _DIRECTIONS[direction]


def _filters(query: Query) -> list[Any]:
    shape = query.shape
    filters = [_compare(name, _Operator.EQUAL, query.equals[name]) for name in shape.equals]
    if shape.contains is not None:
        filters.append(_compare(shape.contains, _Operator.ARRAY_CONTAINS, query.contains))
    if query.lower is not None:
        filters.append(_compare(shape.order[0].field, _Operator.GREATER_THAN_OR_EQUAL, query.lower))
    if query.upper is not None:
        filters.append(_compare(shape.order[0].field, _Operator.LESS_THAN_OR_EQUAL, query.upper))
    return filters


def _compare(name: str, operator: Any, value: Value) -> Any:
    made = _Filter()
    if value is None and operator is _Operator.EQUAL:
        made.unary_filter.field.field_path = _path(name)
        made.unary_filter.op = _IS_NULL
        return made
    made.field_filter.field.field_path = _path(name)
    made.field_filter.op = operator
    made.field_filter.value.CopyFrom(native(value))
    return made


def _filter(where: Any, filters: Sequence[Any]) -> None:
    if len(filters) == 1:
        where.CopyFrom(filters[0])
    elif filters:
        where.composite_filter.op = _AND
        where.composite_filter.filters.extend(filters)


def _start_after(structured: Any, layout: Layout, position: Position) -> None:
    structured.ClearField("start_at")
    structured.start_at.before = False
    for value in position.values:
        structured.start_at.values.add().CopyFrom(native(value))
    structured.start_at.values.add().reference_value = layout.name(position.key)


def _path(name: str) -> str:
    if _SIMPLE_NAME.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _sealed(position: Position, seal: bytes) -> str:
    packed = pack({"values": position.values, "tenant": position.key.tenant, "id": position.key.id})
    return urlsafe_b64encode(seal + packed).decode()


def _opened(query: Query, seal: bytes) -> Position:
    try:
        raw = urlsafe_b64decode((query.cursor or "").encode("ascii"))
        fields = unpack(raw[_SEAL_BYTES:]) if raw[:_SEAL_BYTES] == seal else None
    except (ValueError, ServiceError) as error:
        raise invalid_field("query.cursor", "is not a cursor") from error
    if fields is None:
        raise invalid_field("query.cursor", "belongs to another query")
    return _position(query, fields)


def _position(query: Query, fields: Any) -> Position:
    """Return the place a cursor names, if its maker was this query."""
    try:
        values = tuple(fields["values"])
        key = Key(query.shape.collection, fields["tenant"], fields["id"])
        is_whole = len(values) == len(query.shape.order) and all(native(each) is not None for each in values)
    except (KeyError, TypeError, ValueError, ServiceError) as error:
        raise invalid_field("query.cursor", "is not a cursor") from error
    if not is_whole or query.tenant not in (None, key.tenant):
        raise invalid_field("query.cursor", "is not a cursor")
    return Position(values, key)
