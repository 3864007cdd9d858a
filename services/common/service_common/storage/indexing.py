"""From declared shapes to sort keys: a matching document has them per shape, a query is one range of them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from service_common.errors import invalid_field
from service_common.frozen import dataclass
from service_common.storage import ordering
from service_common.storage.documents import Key, Value
from service_common.storage.encoding import pack
from service_common.storage.shapes import MAX_CONTAINED, Direction, Query, QueryShape, Schema

_SEAL_BYTES = 6


@dataclass(frozen=True, slots=True)
class Content:
    """A document ready to be stored.

    Attributes:
        packed: Its encoded fields.
        index_keys: Its sort keys, of every shape it matches.
        expires: When it becomes absent, in microseconds since 1970; None for never.
    """

    packed: bytes
    index_keys: tuple[bytes, ...]
    expires: int | None


@dataclass(frozen=True, slots=True)
class Scan:
    """The half-open range of sort keys that answers a query.

    Attributes:
        prefix: What all of the query's sort keys start with.
        start: The first sort key that may match.
        end: The first that does not.
    """

    prefix: bytes
    start: bytes
    end: bytes

    def cursor_after(self, sort_key: bytes) -> str:
        """Return the opaque cursor of the page that follows this sort key."""
        return urlsafe_b64encode(_seal(self.prefix) + sort_key[len(self.prefix) :]).decode()


class IndexPlan:
    """The schema's declarations, turned into functions from documents and queries to bytes."""

    __slots__ = ("_shapes", "_ttl_fields", "fingerprint", "schema")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.fingerprint = sha256(repr(schema).encode()).hexdigest()
        self._ttl_fields = {each.name: each.ttl_field for each in schema.collections}
        self._shapes: dict[str, list[QueryShape]] = {each.name: [] for each in schema.collections}
        for shape in schema.shapes:
            self._shapes[shape.collection].append(shape)

    def content(self, key: Key, data: Mapping[str, Value]) -> Content:
        """Return the document as it is stored.

        Raises:
            ServiceError: INVALID_ARGUMENT naming the field that cannot be kept, indexed or read as an expiry.
        """
        self.schema.check_key(key)
        packed = pack(data)
        return Content(packed, self.index_keys(key, data), self.expires(key, data))

    def index_keys(self, key: Key, data: Mapping[str, Value]) -> tuple[bytes, ...]:
        """Return the sort keys of every shape the document matches, one per element of a list looked into."""
        return tuple(
            sort_key
            for shape in self._shapes[key.collection]
            if all(name in data for name in shape.equals) and all(each.field in data for each in shape.order)
            for sort_key in _sort_keys(shape, key, data)
        )

    def expires(self, key: Key, data: Mapping[str, Value]) -> int | None:
        """Return when the document becomes absent, in microseconds since 1970."""
        ttl_field = self._ttl_fields[key.collection]
        moment = data.get(ttl_field) if ttl_field else None
        if moment is None:
            return None
        if not isinstance(moment, datetime):
            raise invalid_field(f"data.{ttl_field}", "is the expiry, so it must be a datetime or absent")
        return ordering.microseconds(moment)

    def scan(self, query: Query) -> Scan:
        """Return the range that answers the query.

        Raises:
            ServiceError: As `Schema.check_query`; INVALID_ARGUMENT for bounds of two types or a foreign
                cursor.
        """
        self.schema.check_query(query)
        prefix = _prefix(query.shape, query.tenant or "", query.equals)
        if query.shape.contains is not None:
            prefix += ordering.encode("query.contains", query.contains)
        first, last = _bounds(query)
        start, end = prefix + first, ordering.after_all(prefix + last)
        if query.cursor is not None:
            # The byte appended makes the range start behind the last document of the page before.
            start = max(start, prefix + _opened(query.cursor, prefix) + b"\0")
        return Scan(prefix, start, end)


def _prefix(shape: QueryShape, tenant: str, values: Mapping[str, Value]) -> bytes:
    prefix = ordering.encode_name(shape.name)
    if not shape.all_tenants:
        prefix += ordering.encode_name(tenant)
    return prefix + b"".join(ordering.encode(f"data.{name}", values[name]) for name in shape.equals)


def _sort_keys(shape: QueryShape, key: Key, data: Mapping[str, Value]) -> list[bytes]:
    prefix = _prefix(shape, key.tenant, data)
    suffix = _suffix(shape, key, data)
    if shape.contains is None:
        return [prefix + suffix]
    return [prefix + element + suffix for element in _elements(shape.contains, data)]


def _elements(name: str, data: Mapping[str, Value]) -> list[bytes]:
    """Return the encoded elements of a list, each once."""
    values = data.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return []
    if len(values) > MAX_CONTAINED:
        raise invalid_field(
            f"data.{name}",
            f"is looked into, so it must hold at most {MAX_CONTAINED} values, got {len(values)}",
        )
    return list(dict.fromkeys(ordering.encode(f"data.{name}", each) for each in values))


def _suffix(shape: QueryShape, key: Key, data: Mapping[str, Value]) -> bytes:
    parts = []
    for each in shape.order:
        encoded = ordering.encode(f"data.{each.field}", data[each.field])
        parts.append(ordering.invert(encoded) if each.direction is Direction.DESCENDING else encoded)
    tie = ordering.encode_name(key.id)
    if shape.all_tenants:
        tie = ordering.encode_name(key.tenant) + tie
    descending = bool(shape.order) and shape.order[-1].direction is Direction.DESCENDING
    parts.append(ordering.invert(tie) if descending else tie)
    return b"".join(parts)


def _bounds(query: Query) -> tuple[bytes, bytes]:
    """Return the prefixes of the first and the last ordered value that may match."""
    if query.lower is None and query.upper is None:
        return b"", b""
    lower = ordering.encode("query.lower", query.lower) if query.lower is not None else b""
    upper = ordering.encode("query.upper", query.upper) if query.upper is not None else b""
    lower, upper = lower or upper[:1], upper or lower[:1]
    if lower[0] != upper[0]:
        raise invalid_field("query.upper", "must be of the same type as query.lower")
    if query.shape.order[0].direction is Direction.DESCENDING:
        return ordering.invert(upper), ordering.invert(lower)
    return lower, upper


def _seal(prefix: bytes) -> bytes:
    return sha256(prefix).digest()[:_SEAL_BYTES]


def _opened(cursor: str, prefix: bytes) -> bytes:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii"))
    except ValueError as error:
        raise invalid_field("query.cursor", "is not a cursor") from error
    if raw[:_SEAL_BYTES] != _seal(prefix):
        raise invalid_field("query.cursor", "belongs to another query")
    return raw[_SEAL_BYTES:]
