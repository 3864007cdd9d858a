"""Where a document lives in Firestore and what it is made of there: names, body, and fields a query needs.

A document is at `tenants/{tenant}/{schema}_{collection}/{id}`. Its field `body` is the nonce of the operation
that wrote it and its fields in msgpack; beside it stand, as native fields, only those a declared shape names
and the expiry. So types return exactly, and nothing is indexed that no query needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.cloud.firestore_v1.types import document as document_types
from google.cloud.firestore_v1.types import write as write_types

from service_common.errors import ErrorKind, ServiceError
from service_common.storage.documents import Key, Value
from service_common.storage.encoding import unpack
from service_common.storage.indexing import Content
from service_common.storage.ordering import MAX_INDEXED_BYTES, microseconds
from service_common.storage.shapes import MAX_CONTAINED, Schema
from service_common.storage.staging import Row

BODY = "body"
"""The field that holds the whole document; never indexed."""

NONCE_BYTES = 8

_Value: Any = document_types.Value.pb()
_Write: Any = write_types.Write.pb()
_SECOND = 10**9
_MICROSECONDS = 10**6
_PRECISION = 1000
"""Firestore counts microseconds, and refuses preconditions that are finer."""

_VERSIONS = range(253_402_300_800 * _SECOND)
"""Times that a precondition can name: 1970 to 9999."""


class Layout:
    """The names and the fields of one schema's documents in one database.

    Args:
        schema: What will be stored.
        database: `projects/{project}/databases/{database}`.

    Raises:
        ValueError: If a declared field has the body's name.
    """

    __slots__ = ("_fields", "_prefix", "_root", "_ttl_fields", "database", "root")

    def __init__(self, schema: Schema, database: str) -> None:
        self.database = database
        self.root = f"{database}/documents"
        self._prefix = f"{schema.name}_"
        self._ttl_fields = {each.name: each.ttl_field for each in schema.collections}
        self._fields = {each.name: native_fields(schema, each.name) for each in schema.collections}

    def parent(self, tenant: str) -> str:
        """Return the document under which a tenant's collections are."""
        return f"{self.root}/tenants/{tenant}"

    def collection_id(self, collection: str) -> str:
        """Return the collection's name in the database."""
        return self._prefix + collection

    def collection(self, collection_id: str) -> str:
        """Return the collection of that name in the database."""
        return collection_id.removeprefix(self._prefix)

    def name(self, key: Key) -> str:
        """Return a document's full name."""
        return f"{self.parent(key.tenant)}/{self._prefix}{key.collection}/{key.id}"

    def key(self, name: str) -> Key:
        """Return the key of a document's full name."""
        tenant, collection, document_id = name.split("/")[-3:]
        return Key(self.collection(collection), tenant, document_id)

    def has_expiry(self, collection: str) -> bool:
        """Tell whether documents of the collection may expire."""
        return self._ttl_fields[collection] is not None

    def put(self, key: Key, content: Content, nonce: bytes) -> Any:
        """Return the write that stores the document as a whole."""
        write = _Write()
        write.update.name = self.name(key)
        fields = write.update.fields
        fields[BODY].bytes_value = nonce + content.packed
        indexed = self._fields[key.collection]
        data = unpack(content.packed) if indexed else {}
        for name in indexed:
            if name in data and (value := native(data[name])) is not None:
                fields[name].CopyFrom(value)
        return write

    def remove(self, key: Key) -> Any:
        """Return the write that removes the document, or is content with none."""
        write = _Write()
        write.delete = self.name(key)
        return write

    def verify(self, key: Key, version: int | None) -> Any:
        """Return a write that changes nothing, and fails unless the document is at this version or absent."""
        if version is None:
            write = self.remove(key)
        else:
            write = _Write()
            write.update.name = self.name(key)
            write.update_mask.SetInParent()
        require(write, version)
        return write

    def row(self, document: Any) -> tuple[Key, Row]:
        """Return a stored document.

        Raises:
            ServiceError: DATA_LOSS if it has no body.
        """
        key = self.key(document.name)
        body = document.fields[BODY].bytes_value
        if len(body) <= NONCE_BYTES:
            raise ServiceError(ErrorKind.DATA_LOSS, "STORE_DAMAGED", f"document {key.id!r} has no body")
        ttl_field = self._ttl_fields.get(key.collection)
        expires = None
        if ttl_field and document.fields[ttl_field].HasField("timestamp_value"):
            moment = document.fields[ttl_field].timestamp_value
            expires = moment.seconds * _MICROSECONDS + moment.nanos // 1000
        return key, Row(0, nanoseconds(document.update_time), Content(body[NONCE_BYTES:], (), expires))


def native_fields(schema: Schema, collection: str) -> tuple[str, ...]:
    """Return the fields that stand beside the body: those a shape of the collection names, and the expiry.

    Raises:
        ValueError: If one of them has the body's name.
    """
    names: dict[str, None] = {}
    for shape in schema.shapes:
        if shape.collection == collection:
            contains = () if shape.contains is None else (shape.contains,)
            names.update(dict.fromkeys((*shape.equals, *contains, *(each.field for each in shape.order))))
    for each in schema.collections:
        if each.name == collection and each.ttl_field:
            names[each.ttl_field] = None
    if BODY in names:
        raise ValueError(f"collection {collection!r}: {BODY!r} holds the document, no shape may name it")
    return tuple(names)


def native(value: Value) -> Any | None:
    """Return the value as Firestore orders it; None for one that no declared shape can match."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _native_list(value)
    found = _Value()
    match value:
        case None:
            found.null_value = 0
        case bool():
            found.boolean_value = value
        case int():
            found.integer_value = value
        case float():
            found.double_value = value
        case datetime():
            seconds, rest = divmod(microseconds(value), _MICROSECONDS)
            found.timestamp_value.seconds, found.timestamp_value.nanos = seconds, rest * 1000
        case str() if len(value.encode()) <= MAX_INDEXED_BYTES:
            found.string_value = value
        case bytes() if len(value) <= MAX_INDEXED_BYTES:
            found.bytes_value = value
        case _:
            return None
    return found


def _native_list(values: Sequence[Value]) -> Any | None:
    if len(values) > MAX_CONTAINED:
        return None
    elements = [native(each) for each in values]
    if any(each is None for each in elements):
        return None
    found = _Value()
    found.array_value.SetInParent()
    found.array_value.values.extend(elements)
    return found


def nonce_of(document: Any) -> bytes:
    """Return the nonce of the operation that wrote the document last."""
    return bytes(document.fields[BODY].bytes_value[:NONCE_BYTES])


def require(write: Any, version: int | None) -> None:
    """Let the write go through only while the document is at this version; None: while it is absent."""
    if version is None:
        write.current_document.exists = False
        return
    moment = write.current_document.update_time
    moment.SetInParent()
    moment.seconds, moment.nanos = divmod(version, _SECOND)


def version_number(text: str) -> int | None:
    """Return the version a precondition can name; None if no document was ever at it."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_VERSIONS.stop)):
        return None
    number = int(text)
    return number if number in _VERSIONS and number % _PRECISION == 0 else None


def nanoseconds(moment: Any) -> int:
    """Return a protobuf time as nanoseconds since 1970."""
    return int(moment.seconds) * _SECOND + int(moment.nanos)
