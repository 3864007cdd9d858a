"""The values every storage backend speaks: keys, documents, writes and decisions.

Limits are the narrowest of all backends, so that what one accepts all accept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from service_common.errors import ServiceError, invalid_field
from service_common.frozen import dataclass

T = TypeVar("T")

Value: TypeAlias = (
    "bool | int | float | str | bytes | datetime | Sequence[Value] | Mapping[str, Value] | None"
)
"""What a field may hold: integers of 64 bits, no NaN, aware datetimes, no list directly inside a list."""

MAX_DOCUMENT_BYTES = 900 * 1024
"""Largest encoded document; leaves room below Firestore's 1 MiB for its own overhead."""

MAX_WRITES = 500
"""Most writes in one commit or one decision."""

MAX_COMMIT_BYTES = 15 * 256 * 1024
"""Largest sum of encoded documents in one commit: what Firestore's emulator takes; Firestore takes 10 MiB."""

SAFE_COMMIT_BYTES = 3 * 1024 * 1024
"""Where to cut what is measured before it is encoded: leaves room below `MAX_COMMIT_BYTES` for frames."""

MAX_NAME_BYTES = 700
"""Longest collection name, tenant or id in UTF-8."""

_SEPARATOR = "\0"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Key:
    """Where a document lives.

    Attributes:
        collection: Name of a declared collection.
        tenant: Whose it is; part of every path, so tenants never meet.
        id: Unique within collection and tenant.

    Each part is text without NUL and "/", not "." or "..", and does not `__look_like_this__`: what
    Firestore takes for a name.

    Raises:
        ServiceError: INVALID_ARGUMENT if a part is no such text, empty, longer than `MAX_NAME_BYTES` or no
            valid Unicode.
    """

    collection: str
    tenant: str
    id: str

    def __post_init__(self) -> None:
        _check_name("key.collection", self.collection)
        _check_name("key.tenant", self.tenant)
        _check_name("key.id", self.id)

    def path(self) -> bytes:
        """Return the key as one byte string, different for different keys."""
        return f"{self.collection}\0{self.tenant}\0{self.id}".encode()

    @staticmethod
    def from_path(path: bytes) -> Key:
        """Return the key whose `path` this is."""
        collection, tenant, document_id = path.decode().split(_SEPARATOR)
        # Checked when the path was made; once more for every document would take a tenth of a query.
        key = object.__new__(Key)
        object.__setattr__(key, "collection", collection)
        object.__setattr__(key, "tenant", tenant)
        object.__setattr__(key, "id", document_id)
        return key


def _check_name(field: str, name: str) -> None:
    if len(name) <= MAX_NAME_BYTES and _PLAIN_NAME.fullmatch(name):
        return
    if not name or _SEPARATOR in name or "/" in name:
        raise invalid_field(field, "must be text of at least one character, none of them NUL or a slash")
    if name in (".", "..") or (name.startswith("__") and name.endswith("__")):
        raise invalid_field(field, 'must not be "." or "..", nor look __like_this__')
    if len(encode_text(field, name)) > MAX_NAME_BYTES:
        raise invalid_field(field, f"must be at most {MAX_NAME_BYTES} bytes of UTF-8")


def encode_text(field: str, text: str) -> bytes:
    """Return the text as UTF-8.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the field if the text holds lone surrogates.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise invalid_field(field, "must be valid Unicode text") from error


@dataclass(frozen=True, slots=True)
class Document:
    """What was read.

    Attributes:
        key: Where it lives.
        data: Its fields; the reader's own copy.
        version: Opaque; changes on every write of the document and is never used again.
    """

    key: Key
    data: Mapping[str, Value]
    version: str


@dataclass(frozen=True, slots=True)
class Create:
    """Write a document that must not exist yet; ALREADY_EXISTS if it does."""

    key: Key
    data: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Set:
    """Write the whole document, whether it exists or not.

    With `if_version`, ABORTED unless the document exists at that version.
    """

    key: Key
    data: Mapping[str, Value]
    if_version: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the named top-level fields and keep the others; NOT_FOUND if the document is absent.

    With `if_version`, ABORTED if the document is at another version.
    """

    key: Key
    fields: Mapping[str, Value]
    if_version: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the document; an absent one is fine.

    With `if_version`, ABORTED unless the document exists at that version.
    """

    key: Key
    if_version: str | None = None


Write: TypeAlias = Create | Set | Update | Delete


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What a transaction's decision function answers.

    Attributes:
        result: Returned to the caller once the writes are stored.
        writes: Applied in order, all or none; also to keys that were not read.
    """

    result: T
    writes: Sequence[Write] = ()


def check_write_count(writes: Sequence[Write]) -> None:
    """Refuse more writes than one commit can carry."""
    if len(writes) > MAX_WRITES:
        raise invalid_field("writes", f"at most {MAX_WRITES} in one commit, got {len(writes)}")


def too_large(size: int) -> ServiceError:
    """Make the error for a document over `MAX_DOCUMENT_BYTES`."""
    return invalid_field("data", f"must encode to at most {MAX_DOCUMENT_BYTES} bytes, got {size}")
