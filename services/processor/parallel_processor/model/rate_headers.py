"""What an endpoint says of its rate limits: the headers of OpenAI, of Anthropic, and of who copies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from parallel_processor.model.retry_hints import parse_duration


@dataclass(frozen=True, slots=True)
class Allowance:
    """One rate, as the endpoint sees it.

    Attributes:
        limit: How much there is at most.
        remaining: How much is left.
        full_in_s: When all of it is there again; None when it did not say.
    """

    limit: float
    remaining: float
    full_in_s: float | None


@dataclass(frozen=True, slots=True)
class RateHints:
    """What the headers of one answer say; None for what they do not.

    Attributes:
        requests: The rate of requests.
        tokens: The rate of tokens, of prompt and output together.
    """

    requests: Allowance | None
    tokens: Allowance | None


def rate_hints(headers: Mapping[str, str], *, now: datetime) -> RateHints | None:
    """Read the rate limits out of an answer's headers.

    Args:
        headers: The answer's headers; names in lower case, or in a mapping that does not mind.
        now: The time, for limits that end at a date.

    Returns:
        None when the endpoint says nothing of rates.
    """
    if "x-ratelimit-limit-requests" in headers or "x-ratelimit-limit-tokens" in headers:
        return RateHints(_openai(headers, "requests", now), _openai(headers, "tokens", now))
    if "anthropic-ratelimit-requests-limit" in headers or "anthropic-ratelimit-tokens-limit" in headers:
        return RateHints(_anthropic(headers, "requests", now), _anthropic(headers, "tokens", now))
    return None


def _openai(headers: Mapping[str, str], kind: str, now: datetime) -> Allowance | None:
    limit, remaining, reset = (
        headers.get(f"x-ratelimit-{part}-{kind}", "") for part in ("limit", "remaining", "reset")
    )
    return _allowance(limit, remaining, reset, now)


def _anthropic(headers: Mapping[str, str], kind: str, now: datetime) -> Allowance | None:
    limit, remaining, reset = (
        headers.get(f"anthropic-ratelimit-{kind}-{part}", "") for part in ("limit", "remaining", "reset")
    )
    return _allowance(limit, remaining, reset, now)


def _allowance(limit: str, remaining: str, reset: str, now: datetime) -> Allowance | None:
    if not (limit.isascii() and limit.isdigit() and remaining.isascii() and remaining.isdigit()):
        return None
    most = float(limit[:15])
    if not most:
        return None
    return Allowance(most, min(most, float(remaining[:15])), _full_in_s(reset, now))


def _full_in_s(reset: str, now: datetime) -> float | None:
    seconds = parse_duration(reset)
    if seconds is not None or not reset:
        return seconds
    try:
        then = datetime.fromisoformat(reset)
    except ValueError:
        return None
    return max(0.0, (then - now).total_seconds()) if then.tzinfo else None
