"""Requests and tokens per minute, as the endpoint's headers tell of them: two token buckets. Pure.

Between two answers a bucket fills at its rate, and each call that begins takes what calls take on average;
each answer's headers put it right. Headers are older than the calls that began since, so what those may take
is subtracted. An endpoint that says nothing of rates is bound by none.
"""

from __future__ import annotations

import math

from parallel_processor.model.rate_headers import Allowance, RateHints

_MEMORY = 50.0
"""About how many calls the average of tokens remembers."""


class Bucket:
    """What is left of one rate. Its mutable state: the level, when it was so, and how fast it fills."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._limit = allowance.limit
        self._per_s = 0.0
        self._level = allowance.remaining
        self._at = now
        self.observe(allowance, now, under_way=0.0)

    def observe(self, allowance: Allowance, now: float, *, under_way: float) -> None:
        """Put it right by an answer's headers, which may not know of calls that are under way."""
        level = self.level(now)
        self._limit = allowance.limit
        self._per_s = allowance.limit / 60.0
        if allowance.full_in_s and allowance.remaining < allowance.limit:
            # A limit per day is told in the same words; only the time to its end says so.
            self._per_s = min(self._per_s, (allowance.limit - allowance.remaining) / allowance.full_in_s)
        self._level = min(max(level, allowance.remaining - under_way), allowance.remaining)
        self._at = now

    def level(self, now: float) -> float:
        """Return what is left; below 0 when more was taken than there was."""
        return min(self._limit, self._level + (now - self._at) * self._per_s)

    def take(self, amount: float, now: float) -> None:
        """Take what a call is expected to take."""
        self._level = self.level(now) - amount
        self._at = now

    def bears(self, amount: float, now: float) -> int:
        """Return for how many calls of such an amount there is enough; one larger than all needs all."""
        return max(0, math.floor(self.level(now) / min(amount, self._limit) + 1e-9))

    def bears_one_in_s(self, amount: float, now: float) -> float:
        """Return in how many seconds there is enough for one."""
        missing = min(amount, self._limit) - self.level(now)
        return max(0.0, missing / self._per_s)


class Rates:
    """Both rates of one endpoint and model. Its mutable state: the buckets, and what a call takes."""

    def __init__(self) -> None:
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._tokens_per_call = 0.0

    @property
    def known(self) -> bool:
        """Whether the endpoint told of any."""
        return self._requests is not None or self._tokens is not None

    def observe(self, hints: RateHints, now: float, *, under_way: int) -> None:
        """Put them right by an answer's headers; so many calls are under way beside the one answered."""
        self._requests = _observed(self._requests, hints.requests, now, under_way)
        self._tokens = _observed(self._tokens, hints.tokens, now, under_way * self._tokens_per_call)

    def begin(self, now: float) -> None:
        """Take what a call that begins is expected to take."""
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None:
            self._tokens.take(self._tokens_per_call, now)

    def answered(self, tokens: int) -> None:
        """Learn how many tokens calls take."""
        share = 1.0 / _MEMORY if self._tokens_per_call else 1.0
        self._tokens_per_call += share * (tokens - self._tokens_per_call)

    def bears(self, now: float) -> int | None:
        """Return how many more calls may begin; None for any number."""
        bounds = [bucket.bears(amount, now) for bucket, amount in self._both()]
        return min(bounds, default=None)

    def bears_one_in_s(self, now: float) -> float:
        """Return in how many seconds one more call may begin."""
        return max((bucket.bears_one_in_s(amount, now) for bucket, amount in self._both()), default=0.0)

    def _both(self) -> list[tuple[Bucket, float]]:
        pairs = ((self._requests, 1.0), (self._tokens, max(1.0, self._tokens_per_call)))
        return [(bucket, amount) for bucket, amount in pairs if bucket is not None]


def _observed(
    bucket: Bucket | None, allowance: Allowance | None, now: float, under_way: float
) -> Bucket | None:
    if allowance is None:
        return bucket
    if bucket is None:
        return Bucket(allowance, now)
    bucket.observe(allowance, now, under_way=under_way)
    return bucket
