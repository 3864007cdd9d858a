"""Segments as documents: where each is, and its records in it; a large one goes on in a second document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from service_common.storage.documents import Document, Key, Set, Write

from content_cache.entry import Address
from content_cache.moments import moment
from content_cache.repository.record import NEVER, Stamp, parse
from content_cache.repository.schema import PARTS, SEGMENTS
from content_cache.repository.segments import Framed

PART_BYTES = 896 * 1024
"""Record bytes in one document of a record that takes two."""


def segment_key(tenant: str, stamp: Stamp, number: int) -> Key:
    """Return where the nth segment of a commit is."""
    # Hashed: neighbouring ids would all be written to one place.
    name = f"{stamp.writer}.{stamp.micros}.{number}"
    return Key(SEGMENTS, tenant, sha256(name.encode()).hexdigest()[:32])


def part_key(segment: Key) -> Key:
    """Return where a segment's record goes on that takes more than one document."""
    return Key(PARTS, segment.tenant, segment.id)


def sizes(records: Iterable[Framed]) -> tuple[tuple[Address, Stamp, int], ...]:
    """Return what the directory remembers of a segment's records."""
    return tuple((each.record.address, each.record.stamp, len(each.framed)) for each in records)


def writes_of(key: Key, records: Sequence[Framed], *, create: int, covers: int) -> list[Write]:
    """Write a segment made then, all of whose records have expired at `covers`, in microseconds."""
    framed = [each.framed for each in records]
    continued = len(framed[0]) > PART_BYTES
    expiry: dict[str, Any] = {} if covers >= NEVER else {"expire_time": moment(covers)}
    held = [framed[0][:PART_BYTES]] if continued else framed
    head = {"create_time": moment(create), "continued": continued, "records": held, **expiry}
    writes: list[Write] = [Set(key, head)]
    if continued:
        writes.append(Set(part_key(key), {"rest": framed[0][PART_BYTES:], **expiry}))
    return writes


def records_of(document: Document, part: Document | None) -> tuple[list[Framed], int]:
    """Return a segment's intact records and how many were damaged."""
    held = document.data.get("records")
    if not isinstance(held, list):
        return [], 1
    if document.data.get("continued"):
        rest = part.data.get("rest") if part else None
        held = [held[0] + rest] if held and isinstance(held[0], bytes) and isinstance(rest, bytes) else [b""]
    framed = [each if isinstance(each, bytes) else b"" for each in held]
    parsed = [(parse(document.key.tenant, each), each) for each in framed]
    intact = [Framed(record, each) for record, each in parsed if record is not None]
    return intact, len(parsed) - len(intact)
