"""Moments and durations as the contracts write them."""

from __future__ import annotations

from datetime import datetime
from typing import overload

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from service_common.rpc.fields import Fields

_NANOS = 1_000_000_000


@overload
def timestamp(moment: datetime) -> Timestamp: ...
@overload
def timestamp(moment: None) -> None: ...
@overload
def timestamp(moment: datetime | None) -> Timestamp | None: ...
def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return an aware moment as a message; None stays unset."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def duration(seconds: float) -> Duration:
    """Return seconds as a message, exact to the nanosecond."""
    return Duration(**duration_fields(seconds))


def duration_fields(seconds: float) -> Fields:
    """Return seconds as the fields of a message, exact to the nanosecond."""
    whole, nanos = divmod(round(seconds * _NANOS), _NANOS)
    return {"seconds": whole, "nanos": nanos}
