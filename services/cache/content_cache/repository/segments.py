"""Which segment holds what: the log's bookkeeping, without I/O.

A segment is a document of one tenant's records, written once. Per key the newest record anywhere holds. A
record is needed while its entry is served, and as a shadow while an older record of its key could come to
light. Every step is synchronous and costs as much as the records it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from service_common.frozen import dataclass
from service_common.storage.documents import MAX_DOCUMENT_BYTES, Key

from content_cache.entry import Address
from content_cache.repository.record import NEVER, Record, Stamp

SEGMENT_BYTES = MAX_DOCUMENT_BYTES - 4 * 1024
"""Record bytes in one document; the rest of its limit is for the fields beside them."""

RECORD_OVERHEAD_BYTES = 5
"""What one record takes beside its own bytes in a document."""

PLACE_BYTES = 304
"""Memory that a record takes in the directory: its place, its stamp, its line among its segment's records.

Measured on CPython 3.11, as the growth of a server beside that of its entries (make bench-cache-policies).
"""

_SHADOW_BYTES = 128
_SCAN_RECORDS = 4000
_SEGMENT_RECORDS = 2000


@dataclass(frozen=True, slots=True)
class Framed:
    """A record and its bytes.

    Attributes:
        record: What it says.
        framed: Its bytes.
    """

    record: Record
    framed: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it is stored.

    Attributes:
        key: Its document.
        records: What it holds, with sizes: (address, stamp, bytes).
        expire: Microseconds since 1970 after which nothing in it is needed; `NEVER` for no such moment.
        continued: Whether a part document belongs to it.
    """

    key: Key
    records: tuple[tuple[Address, Stamp, int], ...]
    expire: int
    continued: bool


@dataclass(slots=True)
class _Place:
    """Where the newest record of a key is, and in how many segments there are records of it."""

    segment: Key | None
    stamp: Stamp
    covers: int
    expires: int
    copies: int = 0


def pack_segments(records: Iterable[Framed]) -> list[tuple[Framed, ...]]:
    """Divide records among segments: of one tenant each, within a document unless it is a single record."""
    full: list[tuple[Framed, ...]] = []
    filling: dict[str, tuple[list[Framed], int]] = {}
    for each in records:
        tenant, size = each.record.address.tenant, len(each.framed) + RECORD_OVERHEAD_BYTES
        waiting, taken = filling.get(tenant, ([], 0))
        if size > SEGMENT_BYTES:
            full.append((each,))
            continue
        if waiting and (taken + size > SEGMENT_BYTES or len(waiting) == _SEGMENT_RECORDS):
            full.append(tuple(waiting))
            waiting, taken = [], 0
        waiting.append(each)
        filling[tenant] = (waiting, taken + size)
    return full + [tuple(waiting) for waiting, _ in filling.values()]


class Directory:
    """Every known segment, and per key the one that holds its newest record.

    Attributes:
        complete: Whether all segments have been seen; until then nothing is known not to exist.
    """

    def __init__(self, writer: int) -> None:
        self.complete = False
        self._writer = writer
        self._last = 0
        self._places: dict[Address, _Place] = {}
        self._segments: dict[Key, Segment] = {}
        self._round: deque[Key] = deque()
        self._records = 0

    def __len__(self) -> int:
        return len(self._segments)

    def __contains__(self, key: Key) -> bool:
        return key in self._segments

    @property
    def slices(self) -> int:
        """How often `wasteful` must be asked to look at everything once."""
        return self._records // _SCAN_RECORDS + 1

    def next_stamp(self, now: int) -> Stamp:
        """Return a stamp after every one known, whatever the clock says."""
        self._last = max(now, self._last + 1)
        return Stamp(self._last, self._writer)

    def segment_of(self, address: Address) -> Key | None:
        """Return where the newest record of a key is; None if it is not known to have one."""
        place = self._places.get(address)
        return place.segment if place else None

    def holds(self, record: Record) -> bool:
        """Tell whether no newer record of its key is known."""
        place = self._places.get(record.address)
        return place is None or place.stamp <= record.stamp

    def is_expired(self, address: Address, now: int) -> bool:
        """Tell whether the newest record is an entry whose time has come: no removal need be written."""
        place = self._places.get(address)
        return place is not None and 0 < place.expires <= now

    def covers(self, address: Address, expires: int) -> int:
        """Return until when a new record of a key must be kept, given its entry's expiry (0: a removal)."""
        if not expires or not self.complete:
            return NEVER
        place = self._places.get(address)
        return expires if place is None else max(expires, place.covers)

    def learn(self, segment: Segment, records: Sequence[Record]) -> None:
        """Take note of a stored segment; one already known changes nothing."""
        if segment.key in self._segments:
            return
        self._segments[segment.key] = segment
        self._round.append(segment.key)
        self._records += len(segment.records)
        for each in records:
            self._last = max(self._last, each.stamp.micros)
            place = self._places.get(each.address)
            if place is None:
                place = self._places[each.address] = _Place(
                    segment.key, each.stamp, each.covers, each.expires
                )
            elif place.segment is None or each.stamp >= place.stamp:
                place.segment, place.stamp = segment.key, each.stamp
                place.covers, place.expires = each.covers, each.expires
            place.copies += 1

    def forget(self, key: Key) -> None:
        """Take note that a segment is gone."""
        segment = self._segments.pop(key, None)
        self._records -= len(segment.records) if segment else 0
        for address, _, _ in segment.records if segment else ():
            place = self._places[address]
            place.copies -= 1
            if place.copies == 0:
                del self._places[address]
            elif place.segment == key:
                place.segment = None

    def needs(self, address: Address, stamp: Stamp, *, now: int, purged: bool = False) -> str:
        """Tell what a record is still needed for: "entry", "shadow" of older ones, or nothing ("").

        Args:
            address: Its key.
            stamp: When it was written.
            now: Microseconds since 1970.
            purged: Whether its entry is not to be served any more.
        """
        place = self._places.get(address)
        if place is None or place.stamp != stamp:
            return ""
        if place.expires > now and not purged:
            return "entry"
        return "shadow" if place.copies > 1 and place.covers > now else ""

    def wasteful(self, now: int, limit: int) -> list[Segment]:
        """Return up to `limit` segments of which less than half is needed, looking at a bounded number.

        Goes on where it stopped the last time. Segments whose time has come are forgotten on the way.
        """
        found: list[Segment] = []
        seen = 0
        for _ in range(len(self._round)):
            if seen >= _SCAN_RECORDS or len(found) >= limit:
                break
            key = self._round.popleft()
            segment = self._segments.get(key)
            if segment is None:
                continue
            seen += len(segment.records)
            if segment.expire <= now:
                self.forget(key)
                continue
            self._round.append(key)
            if self._is_wasteful(segment, now):
                found.append(segment)
        return found

    def _is_wasteful(self, segment: Segment, now: int) -> bool:
        needed = total = 0
        for address, stamp, size in segment.records:
            total += size
            need = self.needs(address, stamp, now=now)
            if need:
                needed += size if need == "entry" else min(size, _SHADOW_BYTES + len(address.key))
        return 2 * needed < total or not segment.records
