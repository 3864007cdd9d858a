"""Requests and tokens per minute, as the endpoint's headers tell of them: two token buckets. Pure.

Between two answers a bucket fills at its rate, and each call that begins takes what calls take on average;
each answer's headers put it right. They may not know of calls that began after the one they answer, so what
those take is subtracted. A bucket often has room for less than its limit per minute: what is left and the
time until it is full say how much. An endpoint that says nothing of rates is bound by none.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left

from parallel_processor.model.rate_headers import Allowance, RateHints

_MEMORY = 50.0
"""About how many calls the average of tokens remembers."""
_LATE_S = 0.25
"""Some calls take so much longer to get there than others: those that began later may overtake them. And a
bucket that is full loses what would have come in meanwhile, so it is taken for full so much earlier."""
_BEGUN = 4096
"""So many calls are remembered by when they began, and up to twice as many."""


class Bucket:
    """What is left of one rate. Its mutable state: the level, when it was so, how fast it fills, how far."""

    def __init__(self, allowance: Allowance, now: float, *, least: float) -> None:
        self._per_s = 0.0
        self._room = 1.0
        self._level = -math.inf
        self._at = now
        self.observe(allowance, now, least=least)

    def observe(self, allowance: Allowance, now: float, *, least: float) -> None:
        """Put it right by an answer's headers: at least so much is left, and at most what they say."""
        level = self.level(now)
        self._per_s = _per_s(allowance)
        self._room = min(max(self._room, _room(allowance, self._per_s)), allowance.limit)
        self._level = min(max(level, least), allowance.remaining)
        self._at = now

    def level(self, now: float) -> float:
        """Return what is left; below 0 when more was taken than there was."""
        return min(self._room, self._level + (now - self._at) * self._per_s)

    def take(self, amount: float, now: float) -> None:
        """Take what a call is expected to take."""
        self._level = self.level(now) - amount
        self._at = now

    def bears(self, amount: float, now: float) -> int:
        """Return for how many calls of such an amount there is enough; one larger than all needs all."""
        return max(0, math.floor(self.level(now) / min(amount, self._room) + 1e-9))

    def bears_one_in_s(self, amount: float, now: float) -> float:
        """Return in how many seconds there is enough for one."""
        missing = min(amount, self._room) - self.level(now)
        return max(0.0, missing / self._per_s)


class Rates:
    """Both rates of one endpoint and model.

    Its mutable state: the buckets, what a call takes, and when the last calls began.
    """

    def __init__(self) -> None:
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._tokens_per_call = 0.0
        self._begun_at = array("d")
        self._forgotten_at = -math.inf

    @property
    def known(self) -> bool:
        """Whether the endpoint told of any."""
        return self._requests is not None or self._tokens is not None

    def observe(self, hints: RateHints, now: float, *, asked_at: float) -> None:
        """Put them right by the headers of the answer to a call that was made then, by the same clock."""
        unseen = self._begun_since(asked_at - _LATE_S)
        self._requests = _observed(self._requests, hints.requests, now, unseen=unseen)
        self._tokens = _observed(
            self._tokens, hints.tokens, now, unseen=unseen * max(1.0, self._tokens_per_call)
        )

    def begin(self, now: float) -> None:
        """Take what a call that begins is expected to take."""
        self._begun_at.append(now)
        if len(self._begun_at) == 2 * _BEGUN:
            self._forgotten_at = self._begun_at[_BEGUN - 1]
            del self._begun_at[:_BEGUN]
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

    def _begun_since(self, at: float) -> float:
        """Return how many calls began since, beside the one that is answered; infinity when forgotten."""
        if at <= self._forgotten_at:
            return math.inf
        return max(0, len(self._begun_at) - bisect_left(self._begun_at, at) - 1)

    def _both(self) -> list[tuple[Bucket, float]]:
        pairs = ((self._requests, 1.0), (self._tokens, max(1.0, self._tokens_per_call)))
        return [(bucket, amount) for bucket, amount in pairs if bucket is not None]


def _observed(
    bucket: Bucket | None, allowance: Allowance | None, now: float, *, unseen: float
) -> Bucket | None:
    if allowance is None:
        return bucket
    least = max(allowance.remaining - unseen, -allowance.limit)
    if bucket is None:
        return Bucket(allowance, now, least=least)
    bucket.observe(allowance, now, least=least)
    return bucket


def _per_s(allowance: Allowance) -> float:
    per_s = allowance.limit / 60.0
    if allowance.full_in_s and allowance.remaining < allowance.limit:
        # A limit per day is told in the same words; only the time to its end says so.
        per_s = min(per_s, (allowance.limit - allowance.remaining) / allowance.full_in_s)
    return per_s


def _room(allowance: Allowance, per_s: float) -> float:
    """Return how much there is when it is full, rounded down, but for what comes in `_LATE_S`."""
    full = allowance.limit
    if allowance.full_in_s is not None:
        full = math.floor(allowance.remaining + allowance.full_in_s * per_s + 1e-9)
    return full - _LATE_S * per_s
