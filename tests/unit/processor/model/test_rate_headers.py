"""Reading rate limits out of headers."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.rate_headers import Allowance, RateHints, rate_hints

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({}, None),
        ({"retry-after": "1"}, None),
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-limit-tokens": "150000",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            RateHints(Allowance(60, 59, 1.0), Allowance(150_000, 149_984, 360.0)),
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-01-01T12:00:30Z",
            },
            RateHints(Allowance(50, 49, 30.0), None),
        ),
        ({"x-ratelimit-limit-requests": "many"}, RateHints(None, None)),
        (
            {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "90"},
            RateHints(Allowance(60, 60, None), None),
        ),
    ],
)
def test_headers_are_read(headers: dict[str, str], hints: RateHints | None) -> None:
    """Both dialects are read, resets as durations or dates; what is no number is left out."""
    assert rate_hints(headers, now=NOW) == hints


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_nonsense_is_survived(limit: str, remaining: str, reset: str) -> None:
    """Whatever an endpoint writes, reading it never fails and never gives more than the limit."""
    for names in (
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        (
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ),
    ):
        hints = rate_hints(dict(zip(names, (limit, remaining, reset), strict=True)), now=NOW)
        if hints is not None and hints.tokens is not None:
            assert 0 <= hints.tokens.remaining <= hints.tokens.limit
