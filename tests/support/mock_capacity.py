"""How much the mock endpoint can bear: calls at a time and rates per minute, and what happens beyond.

Pure: the time is handed in. A plan is one JSON object, and may change with the seconds since it was set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson

from tests.support.mock_behaviour import Answer, Call


@dataclass(frozen=True, slots=True)
class Plan:
    """What an endpoint can bear.

    Attributes:
        model: Only calls for this model; empty: all.
        concurrent: Calls at a time; None for any number, 0 to refuse or keep them all.
        steps: `[seconds since the plan was set, concurrent]`, in order; each replaces the number before.
        over: What happens beyond: `refuse` at once; `queue`, in order of arrival and without a word; or
            `share`: all are begun, and the more there are the slower each.
        status: The status of a refusal.
        retry_after: The Retry-After header of refusals; `true` for one that says when there is room again by
            the rates; none when empty.
        headers: Whose rate-limit headers every answer has: `openai`, `anthropic`, or none when empty.
        requests_per_minute: How many requests; None for any number.
        tokens_per_minute: How many tokens of prompt and output; None for any number.
        burst_s: For how many seconds' worth of a rate there is room at once.
    """

    model: str = ""
    concurrent: int | None = None
    steps: tuple[tuple[float, int | None], ...] = ()
    over: Literal["refuse", "queue", "share"] = "refuse"
    status: int = 429
    retry_after: str = ""
    headers: Literal["", "openai", "anthropic"] = ""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_s: float = 1.0

    def concurrent_at(self, since_s: float) -> int | None:
        """Return the calls at a time, so long after the plan was set."""
        now = self.concurrent
        for at_s, number in self.steps:
            if since_s >= at_s:
                now = number
        return now


@dataclass(slots=True)
class _Bucket:
    """A rate, and what is left of it."""

    per_minute: float
    room: float
    at: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.room

    def refill(self, now: float) -> None:
        self.left = min(self.room, self.left + (now - self.at) * self.per_minute / 60)
        self.at = now

    def full_in_s(self, amount: float) -> float:
        """Return in how many seconds so much is left."""
        return max(0.0, (min(amount, self.room) - self.left) * 60 / self.per_minute)


class Capacity:
    """A plan at work. Its mutable state: the calls that run, those that wait, and the buckets."""

    def __init__(self, plan: Plan, now: float) -> None:
        self.plan = plan
        self.running = 0
        self._set_at = now
        self._waiting: deque[Callable[[], bool]] = deque()
        self._requests = _bucket(plan.requests_per_minute, plan.burst_s, now)
        self._tokens = _bucket(plan.tokens_per_minute, plan.burst_s, now)

    @property
    def steps_at_s(self) -> tuple[float, ...]:
        """When it changes, in seconds since it was set."""
        return tuple(at_s for at_s, _ in self.plan.steps)

    def admit(self, tokens: int, now: float) -> Literal["begin", "wait", "refuse"]:
        """Decide about a call that has just arrived; one that begins is counted until `ended`."""
        if not self._rates_allow(tokens, now):
            return "refuse"
        if self.plan.over != "share" and self._is_full(now):
            return "refuse" if self.plan.over == "refuse" else "wait"
        self._take(tokens)
        self.running += 1
        return "begin"

    def wait(self, begin: Callable[[], bool]) -> None:
        """Let a call wait; `begin` answers False when its client has gone."""
        self._waiting.append(begin)

    def ended(self, now: float) -> None:
        """Take note that a call is over, and begin those that may."""
        self.running -= 1
        self.pump(now)

    def pump(self, now: float) -> None:
        """Begin calls that wait while there is room."""
        while self._waiting and not self._is_full(now):
            self.running += 1
            if not self._waiting.popleft()():
                self.running -= 1

    def release(self) -> None:
        """Begin all that wait: the plan rules no more."""
        while self._waiting:
            self.running += 1
            if not self._waiting.popleft()():
                self.running -= 1

    def slowdown(self, now: float) -> float:
        """Return how many times longer a call takes that begins now."""
        limit = self.plan.concurrent_at(now - self._set_at)
        if self.plan.over != "share" or limit is None:
            return 1.0
        return max(1.0, self.running / max(1, limit))

    def refusal(self, tokens: int, now: float) -> Answer:
        """Make the answer to a call that is turned away."""
        headers = self.headers(now)
        retry_after = self.plan.retry_after
        if retry_after == "true":
            retry_after = f"{self._room_in_s(tokens, now):.3f}"
        if retry_after:
            headers = (*headers, f"Retry-After: {retry_after}")
        code = "overloaded_error" if self.plan.status in (503, 529) else "rate_limit_exceeded"
        error = {"message": "Rate limit reached", "type": code, "param": None, "code": code}
        return Answer(self.plan.status, orjson.dumps({"error": error}), headers)

    def headers(self, now: float) -> tuple[str, ...]:
        """Return the rate-limit headers of an answer that is given now."""
        lines: list[str] = []
        for kind, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is None or not self.plan.headers:
                continue
            bucket.refill(now)
            write = _openai if self.plan.headers == "openai" else _anthropic
            lines += write(kind, bucket)
        return tuple(lines)

    def _is_full(self, now: float) -> bool:
        limit = self.plan.concurrent_at(now - self._set_at)
        return limit is not None and self.running >= limit

    def _rates_allow(self, tokens: int, now: float) -> bool:
        wanted = ((self._requests, 1), (self._tokens, tokens))
        for bucket, amount in wanted:
            if bucket is not None:
                bucket.refill(now)
                if bucket.left + 1e-9 < min(amount, bucket.room):
                    return False
        return True

    def _take(self, tokens: int) -> None:
        if self._requests is not None:
            self._requests.left -= 1
        if self._tokens is not None:
            self._tokens.left -= tokens

    def _room_in_s(self, tokens: int, now: float) -> float:
        wanted = ((self._requests, 1), (self._tokens, tokens))
        for bucket, _ in wanted:
            if bucket is not None:
                bucket.refill(now)
        return max((bucket.full_in_s(amount) for bucket, amount in wanted if bucket is not None), default=0.0)


class Capacities:
    """What the endpoint can bear, by model: the first plan that fits a call rules it."""

    def __init__(self, plans: Iterable[Plan], now: float) -> None:
        self.all = [Capacity(plan, now) for plan in plans]

    def of(self, call: Call) -> Capacity | None:
        """Return what rules a call; None when nothing does."""
        for capacity in self.all:
            if capacity.plan.model in ("", call.model):
                return capacity
        return None


def read_plans(body: bytes) -> list[Plan]:
    """Read one plan or a list of them from JSON."""
    parsed: Any = orjson.loads(body)
    objects = parsed if isinstance(parsed, list) else [parsed]
    return [Plan(**{**each, "steps": tuple(map(tuple, each.get("steps", ())))}) for each in objects]


def duration(seconds: float) -> str:
    """Write a duration as OpenAI does: `6m0s`, `1.5s`, `20ms`."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f}ms"
    minutes, rest = divmod(seconds, 60)
    rest_text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{minutes:.0f}m{rest_text}s" if minutes else f"{rest_text}s"


def _bucket(per_minute: float | None, burst_s: float, now: float) -> _Bucket | None:
    return None if per_minute is None else _Bucket(per_minute, max(1.0, per_minute * burst_s / 60), now)


def _openai(kind: str, bucket: _Bucket) -> list[str]:
    return [
        f"x-ratelimit-limit-{kind}: {bucket.per_minute:.0f}",
        f"x-ratelimit-remaining-{kind}: {int(bucket.left)}",
        f"x-ratelimit-reset-{kind}: {duration(bucket.full_in_s(bucket.room))}",
    ]


def _anthropic(kind: str, bucket: _Bucket) -> list[str]:
    full = datetime.now(UTC) + timedelta(seconds=bucket.full_in_s(bucket.room))
    return [
        f"anthropic-ratelimit-{kind}-limit: {bucket.per_minute:.0f}",
        f"anthropic-ratelimit-{kind}-remaining: {int(bucket.left)}",
        f"anthropic-ratelimit-{kind}-reset: {full.isoformat(timespec='seconds').replace('+00:00', 'Z')}",
    ]
