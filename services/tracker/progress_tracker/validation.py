"""What a request's fields may hold; every rule names the field it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from service_common.errors import FieldViolation, invalid_argument

MAX_ID_BYTES = 128
MAX_FIGURE = 10**13
"""Largest count or amount: the sum over all producers of a job still fits 64 bits."""

MAX_STAGE_S = 366 * 86_400
_MICRO = 1_000_000
_NANOS_OF_MICRO = 1000


class Violations:
    """Gathers what is wrong with one request or one report of a batch.

    Attributes:
        place: The path of the report and the number of the item in it whose fields are noted; None for fields
            that are named in full.
    """

    __slots__ = ("_found", "place")

    def __init__(self) -> None:
        self.place: tuple[str, int] | None = None
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note a bad field."""
        if self.place is not None:
            report, index = self.place
            field = f"{report}.items[{index}].{field}"
        self._found.append(FieldViolation(field, description))

    def check(self) -> None:
        """Raise INVALID_ARGUMENT with all that was noted, if anything was."""
        if self._found:
            raise invalid_argument(*self._found)

    def name(self, field: str, text: str) -> None:
        """Demand an identifier of 1 to 128 bytes without NUL."""
        if not text:
            self.add(field, "is required")
        elif _size(text) > MAX_ID_BYTES:
            self.add(field, f"must be at most {MAX_ID_BYTES} bytes")
        elif "\0" in text:
            self.add(field, "must not hold NUL")

    def text(self, field: str, text: str, limit: int) -> None:
        """Demand at most so many bytes of UTF-8."""
        if len(text) * 4 > limit and _size(text) > limit:
            self.add(field, f"must be at most {limit} bytes")

    def figure(self, field: str, value: int) -> None:
        """Demand a count or an amount."""
        if not 0 <= value <= MAX_FIGURE:
            self.add(field, f"must be 0 to {MAX_FIGURE}")

    def quality(self, field: str, value: float) -> bool:
        """Demand a score; returns whether it is one."""
        is_score = 0 <= value <= 1
        if not is_score:
            self.add(field, "must be 0 to 1")
        return is_score

    def pairs(self, field: str, pairs: Mapping[str, object], limit: int) -> None:
        """Demand at most so many entries of a map."""
        if len(pairs) > limit:
            self.add(field, f"must have at most {limit} entries, has {len(pairs)}")

    def time(self, field: str, stamp: Timestamp) -> datetime | None:
        """Return a time, or None after noting why it is none."""
        try:
            return stamp.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.add(field, "must be a valid time between the years 1 and 9999")
            return None

    def duration(self, field: str) -> None:
        """Note that a stage's duration is none."""
        self.add(field, f"must be 0 to {MAX_STAGE_S} seconds")

    def seconds(self, field: str, duration: Duration, *, least: float, most: float) -> float:
        """Return a waiting time in seconds; the least after noting why it is none."""
        seconds = duration.seconds + duration.nanos / 1e9
        if not least <= seconds <= most:
            self.add(field, f"must be {least:g} to {most:g} seconds")
            return least
        return seconds


def micros_of(duration: Duration) -> int | None:
    """Return a stage's duration in microseconds; None if it cannot be one."""
    seconds, nanos = duration.seconds, duration.nanos
    if not (0 <= seconds <= MAX_STAGE_S and 0 <= nanos < _MICRO * _NANOS_OF_MICRO):
        return None
    return seconds * _MICRO + nanos // _NANOS_OF_MICRO


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
