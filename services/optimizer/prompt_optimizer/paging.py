"""Page tokens: where a listing goes on, opaque to clients."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from service_common.errors import invalid_field

from prompt_optimizer.outcomes.listing import Position, RecordQuery

_PREFIX = "p1:"
_TEMPLATE_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"[1-9]\d{0,9}")
_RECORD = re.compile(r"[0-9a-f]{12}\.([0-9]{1,2})?\.[0-9]{1,17}\.[0-9a-f]{16}\.[0-9]{1,9}")
_SEAL_DIGITS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def after_template(token: str) -> str:
    """Return the id after which the page starts; empty for the first page.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is not a token of this listing.
    """
    return _read(token, _TEMPLATE_ID)


def below_version(token: str) -> int | None:
    """Return the number below which the page starts; None for the first page.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is not a token of this listing.
    """
    text = _read(token, _VERSION)
    return int(text) if text else None


def after_record(token: str, query: RecordQuery) -> Position | None:
    """Return the place at which the page starts; None for the first page.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is not a token of this query's listing.
    """
    text = _read(token, _RECORD)
    if not text:
        return None
    seal, grade, micros, page_id, passed = text.split(".")
    if seal != _seal(query):
        raise invalid_field("page_token", "belongs to another listing of quality records")
    time = _EPOCH + int(micros) * _MICROSECOND
    return Position(int(grade) if grade else None, time, page_id, int(passed))


def record_position(position: Position, query: RecordQuery) -> str:
    """Return a place in the listing of a query as text."""
    grade = "" if position.grade is None else position.grade
    micros = (position.time - _EPOCH) // _MICROSECOND
    return f"{_seal(query)}.{grade}.{micros}.{position.page_id}.{position.passed}"


def _seal(query: RecordQuery) -> str:
    return sha256(repr(query).encode()).hexdigest()[:_SEAL_DIGITS]


def token_of(position: str) -> str:
    """Return the token of the page that goes on from a position."""
    return urlsafe_b64encode(f"{_PREFIX}{position}".encode()).decode()


def _read(token: str, form: re.Pattern[str]) -> str:
    if not token:
        return ""
    try:
        text = urlsafe_b64decode(token.encode("ascii")).decode("ascii")
    except ValueError:  # neither base64 nor text
        text = ""
    position = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not form.fullmatch(position):
        raise invalid_field("page_token", "is not a next_page_token of this listing")
    return position
