"""Reading when an endpoint wants to be asked again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.retry_hints import MAX_RETRY_AFTER_S, parse_duration, retry_after_s

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400.0),
        ("12", 12.0),
        ("0.25", 0.25),
        (" 7 ", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1x", None),
        ("s", None),
        ("inf", None),
        ("\N{ARABIC-INDIC DIGIT ONE}s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """Durations are read as endpoints write them; what is none is None."""
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "whenever"}, None),
        ({"retry-after": "99999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "6m0s", "retry-after": "2"}, 2.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            1.0,
        ),
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m0s",
            },
            1.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "8h",
                "x-ratelimit-reset-tokens": "20ms",
            },
            0.02,
        ),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    """The explicit wait comes first; else the reset of the limit that ran out, for one request of many."""
    assert retry_after_s(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds))


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    """Any header value is read or ignored, and the wait is never negative nor longer than a day."""
    wait = retry_after_s({"retry-after": text, "retry-after-ms": text}, now=NOW)

    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_S
