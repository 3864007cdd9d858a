"""How many calls may be repeats: a share of the first tries, and a few a second whatever happens.

An endpoint that fails more often than it is asked anew gets no more calls because of it: repeats wait.
Sources: Finagle's RetryBudget (20 % of requests and 10 a second); gRPC proposal A6, retry throttling.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_MAX_LANES = 100


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What repeats are allowed.

    Attributes:
        share: Repeats per first try.
        per_second: Repeats a second beyond those.
        most: The most that are saved up.
        longest_s: The longest a repeat is put off; beyond that it goes, lest a bad minute cost an hour.
    """

    share: float = 0.2
    per_second: float = 10.0
    most: float = 100.0
    longest_s: float = 20.0


class RetryBudget:
    """The repeats of one lane. Its mutable state: how many are left, below 0 when promised ahead, and when.

    Attributes:
        left: Repeats that may go at once, as of the last change.
    """

    __slots__ = ("_at", "_policy", "left")

    def __init__(self, policy: RetryPolicy, now: float) -> None:
        self._policy = policy
        self._at = now
        self.left = policy.per_second

    def tried(self, now: float) -> None:
        """Note a first try, which earns a share of a repeat."""
        self.left = min(self._policy.most, self.at(now) + self._policy.share)
        self._at = now

    def take(self, now: float) -> float:
        """Take a repeat; returns in how many seconds it may go."""
        self.left = max(self.at(now) - 1.0, -self._policy.longest_s * self._policy.per_second)
        self._at = now
        return max(0.0, -self.left / self._policy.per_second)

    def at(self, now: float) -> float:
        """Return how many repeats are left."""
        return min(self._policy.most, self.left + (now - self._at) * self._policy.per_second)


class RetryBudgets:
    """A budget for each lane, that is each model. Its mutable state: those used last."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self._policy = policy or RetryPolicy()
        self._lanes: OrderedDict[str, RetryBudget] = OrderedDict()

    def of(self, lane: str, now: float) -> RetryBudget:
        """Return a lane's budget."""
        budget = self._lanes.get(lane)
        if budget is None:
            budget = self._lanes[lane] = RetryBudget(self._policy, now)
            while len(self._lanes) > _MAX_LANES:
                self._lanes.popitem(last=False)
        return budget

    def left(self, now: float) -> float:
        """Return the repeats left in the lane that has the fewest; what a new lane has when there is none."""
        return min((each.at(now) for each in self._lanes.values()), default=self._policy.per_second)
