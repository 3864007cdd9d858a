"""What became of a key at one moment, as bytes that are recognised when damaged.

A record is framed by itself, so that one damaged record takes none of its neighbours along. Of two records of
a key the one with the later stamp holds.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from sys import intern
from typing import NamedTuple

import msgpack
from service_common.frozen import dataclass

from content_cache.entry import Address, Entry
from content_cache.holding.labels import tags_in
from content_cache.moments import micros, moment

NEVER = 2**62
"""A moment that does not come: what a removal covers, for nobody can know what others have stored."""

_HEAD = struct.Struct(">QQQ")
_DIGEST_BYTES = 16
_FIELDS = 10
_FIELDS_BEFORE_PACKING = 9
_FIELDS_BEFORE_PURGES = 5
_MICROS_PER_S = 1_000_000


class Stamp(NamedTuple):
    """The place of a record in the order of all records of all replicas.

    Attributes:
        micros: When it was written, microseconds since 1970; later than every record its writer knew of.
        writer: The replica that wrote it, 63 random bits of its start; decides when moments are equal.
    """

    micros: int
    writer: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a key has from one stamp on.

    Attributes:
        address: The key.
        stamp: Since when.
        covers: Until when an older record of the key, known or not, could come to light without this one;
            microseconds since 1970, at least until the entry leaves.
        entry: What is there; None if it was removed.
    """

    address: Address
    stamp: Stamp
    covers: int
    entry: Entry | None

    @property
    def expires(self) -> int:
        """Return when the entry is of no use any more, microseconds since 1970; 0 without one."""
        return 0 if self.entry is None else micros(self.entry.leave_time)


def encode(address: Address, entry: Entry | None) -> bytes:
    """Return what of a record does not depend on when it is written."""
    if entry is None:
        return bytes(msgpack.packb((address.key, None, 0, 0, 0)))
    created, expires = micros(entry.create_time), micros(entry.expire_time)
    content = (address.key, entry.encoded, entry.cost_micros, created, expires)
    stale, generation = round(entry.stale_s * _MICROS_PER_S), round(entry.generation_s * _MICROS_PER_S)
    fields = (*content, entry.tags, entry.era, stale, generation)
    return bytes(msgpack.packb((*fields, entry.packing) if entry.packing else fields))


def frame(content: bytes, stamp: Stamp, *, covers: int) -> bytes:
    """Return the record's bytes from what `encode` returned."""
    head = _HEAD.pack(stamp.micros, stamp.writer, covers)
    return _digest(head, content) + head + content


def parse(tenant: str, framed: object) -> Record | None:
    """Return the record, None if it is not what was framed."""
    if not isinstance(framed, bytes) or len(framed) < _DIGEST_BYTES + _HEAD.size:
        return None
    head = framed[_DIGEST_BYTES : _DIGEST_BYTES + _HEAD.size]
    content = framed[_DIGEST_BYTES + _HEAD.size :]
    if _digest(head, content) != framed[:_DIGEST_BYTES]:
        return None
    written, writer, covers = _HEAD.unpack(head)
    fields = msgpack.unpackb(content, use_list=False)
    if len(fields) not in {_FIELDS, _FIELDS_BEFORE_PACKING, _FIELDS_BEFORE_PURGES}:
        return None
    address = Address(tenant, fields[0])
    entry = None if fields[1] is None else _entry(address, *fields[1:])
    return Record(address, Stamp(written, writer), covers, entry)


def _entry(  # noqa: PLR0917 - the fields of a record, in its order
    address: Address,
    encoded: bytes,
    cost: int,
    created: int,
    expires: int,
    tags: tuple[str, ...] | None = None,
    era: int = 0,
    stale: int = 0,
    generation: int = 0,
    packing: str = "",
) -> Entry:
    """Return a record's entry; one written before there were purges has its labels in its bytes alone."""
    return Entry(
        address,
        encoded,
        cost,
        moment(created),
        moment(expires),
        tags=tags_in(encoded) if tags is None else tags,
        era=era,
        stale_s=stale / _MICROS_PER_S,
        generation_s=generation / _MICROS_PER_S,
        packing=intern(packing),  # few names, many entries
    )


def _digest(head: bytes, content: bytes) -> bytes:
    digest = sha256(head)
    digest.update(content)
    return digest.digest()[:_DIGEST_BYTES]
