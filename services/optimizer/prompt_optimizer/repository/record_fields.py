"""A page of quality records as one document: packed columns of equal length, and the lists it is found by.

A column is the numbers of all records, little-endian, of a fixed width: a record takes about 50 bytes, and
hundreds are written and read in a fraction of a millisecond.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from service_common.storage import Value

from prompt_optimizer.outcomes.listing import StoredPage
from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.record import Part, QualityRecord
from prompt_optimizer.repository.schema import version_name
from prompt_optimizer.templates.template import Family, VersionKey

_TEN_THOUSANDTHS = 10_000
_MICROS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_NO_SCORE = -1
_STATUSES = (Status.SUCCEEDED, Status.TRUNCATED, Status.FILTERED, Status.FAILED)
"""Stored by their places: new ones go to the end."""

_NUMBERS: Mapping[str, tuple[str, Callable[[QualityRecord], int]]] = {
    "status": ("B", lambda each: _STATUSES.index(each.status)),
    "score": ("h", lambda each: _scaled(each.score)),
    "prompt_tokens": ("i", lambda each: each.prompt_tokens),
    "output_tokens": ("i", lambda each: each.output_tokens),
    "cost_micros": ("q", lambda each: each.cost_micros),
    "latency_micros": ("q", lambda each: round(each.latency_s * _MICROS)),
}
"""What is stored of each record as a number, by the name of its column, with the width struct has for it."""


def grade_name(content_type: str, grade: int) -> str:
    """Name a grade of a content type, as a page lists it."""
    return f"{content_type}/{grade}"


def page_fields(parts: Sequence[Part], *, create_time: datetime, expire_time: datetime) -> dict[str, Value]:
    """Return parts as the fields of one page."""
    records = [record for part in parts for record in part.records]
    versions = list(dict.fromkeys(each.version for each in records))
    types = list(dict.fromkeys(each.content_type for each in records))
    grades = {(each.content_type, each.grade) for each in records if each.grade is not None}
    names = dict.fromkeys(name for each in records for name, _ in each.aspects)
    aspects = [dict(each.aspects) for each in records]
    return {
        "create_time": create_time,
        "expire_time": expire_time,
        "versions": [version_name(each) for each in versions if each.family.template_id],
        "content_types": types,
        "grades": [grade_name(*each) for each in sorted(grades)],
        "parts": [each.mark for each in parts],
        "used_versions": [
            {"template_id": each.family.template_id, "born": each.family.born, "version": each.version}
            for each in versions
        ],
        "columns": {
            "version": _column("H", _places(versions, (each.version for each in records))),
            "content_type": _column("H", _places(types, (each.content_type for each in records))),
            "since_micros": _column("q", ((each.time - create_time) // _MICROSECOND for each in records)),
            **{name: _column(width, map(of, records)) for name, (width, of) in _NUMBERS.items()},
        },
        "aspects": {name: _column("h", (_scaled(each.get(name)) for each in aspects)) for name in names},
    }


def page_of(page_id: str, fields: Mapping[str, Any]) -> StoredPage:
    """Return the page that was stored."""
    versions = [
        VersionKey(Family(each["template_id"], each["born"]), each["version"])
        for each in fields["used_versions"]
    ]
    time: datetime = fields["create_time"]
    packed: Mapping[str, bytes] = fields["columns"]
    numbers = {name: _numbers(width, packed[name]) for name, (width, _) in _NUMBERS.items()}
    aspects = {name: _numbers("h", each) for name, each in fields["aspects"].items()}
    places = zip(
        _numbers("H", packed["version"]),
        _numbers("H", packed["content_type"]),
        _numbers("q", packed["since_micros"]),
        strict=True,
    )
    records = tuple(
        QualityRecord(
            version=versions[version],
            content_type=fields["content_types"][content_type],
            status=_STATUSES[numbers["status"][row]],
            score=_unscaled(numbers["score"][row]),
            aspects=tuple(_aspects(aspects, row)),
            prompt_tokens=numbers["prompt_tokens"][row],
            output_tokens=numbers["output_tokens"][row],
            cost_micros=numbers["cost_micros"][row],
            latency_s=numbers["latency_micros"][row] / _MICROS,
            time=time + since * _MICROSECOND,
        )
        for row, (version, content_type, since) in enumerate(places)
    )
    return StoredPage(page_id, time, records)


def _places(known: Sequence[Any], values: Iterable[Any]) -> Iterable[int]:
    places = {each: place for place, each in enumerate(known)}
    return (places[each] for each in values)


def _column(width: str, numbers: Iterable[int]) -> bytes:
    listed = list(numbers)
    return struct.pack(f"<{len(listed)}{width}", *listed)


def _numbers(width: str, column: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(column) // struct.calcsize(f'<{width}')}{width}", column)


def _aspects(columns: Mapping[str, Sequence[int]], row: int) -> Iterable[tuple[str, float]]:
    for name, scores in columns.items():
        score = _unscaled(scores[row])
        if score is not None:
            yield name, score


def _scaled(score: float | None) -> int:
    return _NO_SCORE if score is None else round(score * _TEN_THOUSANDTHS)


def _unscaled(score: int) -> float | None:
    return None if score == _NO_SCORE else score / _TEN_THOUSANDTHS
