"""When an endpoint wants to be asked again, read from the headers that endpoints use for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 86_400.0
"""Longer hints are cut to a day."""

_UNIT_S = {
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read the wait an answer asks for.

    Args:
        headers: The answer's headers, names in lower case.
        now: The time, for hints that name a date.

    Returns:
        Seconds, 0 to a day; None when the headers do not say.
    """
    wait = _milliseconds(headers.get("retry-after-ms", ""))
    if wait is None:
        wait = _seconds_or_date(headers.get("retry-after", ""), now)
    if wait is None:
        wait = _reset_of_the_exhausted(headers)
    return None if wait is None else min(max(wait, 0.0), MAX_RETRY_AFTER_S)


def parse_duration(text: str) -> float | None:
    """Read a duration such as `6m0s`, `1.5s`, `20ms` or plain seconds.

    Returns:
        Seconds; None when it is no duration.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(amount) * _UNIT_S[unit] for amount, unit in _PART.findall(text))


def _milliseconds(text: str) -> float | None:
    text = text.strip()  # of more than `float` takes for blank
    return float(text) / 1_000 if _NUMBER.fullmatch(text) else None


def _seconds_or_date(text: str, now: datetime) -> float | None:
    wait = parse_duration(text)
    if wait is not None:
        return wait
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return (then - now).total_seconds()


def _reset_of_the_exhausted(headers: Mapping[str, str]) -> float | None:
    # Requests run out to exactly zero; tokens are out as soon as the next request needs more than remain.
    if headers.get("x-ratelimit-remaining-requests") != "0":
        return parse_duration(headers.get("x-ratelimit-reset-tokens", ""))
    until_full_s = parse_duration(headers.get("x-ratelimit-reset-requests", ""))
    limit = headers.get("x-ratelimit-limit-requests", "")
    if until_full_s is None or not _NUMBER.fullmatch(limit):
        return until_full_s
    return until_full_s / max(1.0, float(limit))  # room for one comes long before room for all
