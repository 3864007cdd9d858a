"""What a shard's worker spends from: when to ask for more, and what a call hears that no budget bears."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError

from parallel_processor.jobs.shard import Commit, Shard, slack
from parallel_processor.spending.account import Account, Standing
from parallel_processor.spending.refusal import BudgetRefusedError, UsedUp

_REMEMBERED_S = 4.0
"""How long what a budget has refused for good is refused without asking again: what is spent stays spent."""

_RETRY_S = 0.5
"""How long a shard asks for nothing when its budgets have nothing to give: calls that are out come back."""

Verdict = BudgetRefusedError | None


class Stock(Protocol):
    """Where budgets stand."""

    async def take_stock(self, tenant: str, job_id: str) -> Standing:
        """Take back what nobody uses, and return where a job's budgets stand then."""
        ...


class Limit:
    """From what worst case on calls of a job are refused without asking. Its mutable state: just that."""

    def __init__(self) -> None:
        self._used_up: UsedUp | None = None
        self._until = float("-inf")

    def now(self, clock: Clock) -> UsedUp | None:
        """Return the cheapest call that was refused for good lately."""
        if self._used_up is not None and clock.monotonic() >= self._until:
            self._used_up = None
        return self._used_up

    def learn(self, used_up: UsedUp, clock: Clock) -> None:
        """Remember a call that was refused for good."""
        known = self.now(clock)
        if known is None or used_up.worst <= known.worst:
            self._used_up, self._until = used_up, clock.monotonic() + _REMEMBERED_S


class ShardPurse:
    """Spends for one shard.

    Its mutable state: whether a budget holds the shard, whether it must ask before it spends more, until
    when asking is of no use, and what was refused for good.

    Attributes:
        held: Whether a budget may hold the shard, so that calls must be given for before they are made.
        refused: By item index, what was refused for good and has not been borne since.
    """

    def __init__(
        self,
        stock: Stock,
        *,
        clock: Clock,
        held: bool,
        limit: Limit | None = None,
        retry_s: float = _RETRY_S,
        on_refused: Callable[[Account], None] = lambda _: None,
    ) -> None:
        """Prepare to spend.

        Args:
            stock: Where budgets stand.
            clock: Time.
            held: Whether the shard's job has a cap, or its tenant a budget.
            limit: What is refused at once, shared by the purses of a job.
            retry_s: How long to ask for nothing when there was nothing to be had.
            on_refused: Is told of each item whose call a budget refuses for good.
        """
        self.held = held
        self._stock = stock
        self._clock = clock
        self._retry_s = retry_s
        self._on_refused = on_refused
        self._must_ask = False
        self._retried = False
        self._ask_from = float("-inf")
        self.refused: dict[int, UsedUp] = {}
        self._limit = limit or Limit()

    def foreseen(self, index: int, worst: int) -> BudgetRefusedError | None:
        """Refuse a call at once that may cost as much as one that was refused for good a moment ago."""
        known = self._limit.now(self._clock)
        if known is None or worst < known.worst:
            return None
        return self._refused(index, UsedUp(known.account, worst))

    def borne(self, indexes: Iterable[int]) -> None:
        """Take note of items whose calls may be made after all."""
        if self.refused:
            for index in self.refused.keys() & set(indexes):
                del self.refused[index]

    def all_refused(self, indexes: Iterable[int]) -> UsedUp | None:
        """Return the cheapest of what was refused for good if that is all there is; else None."""
        cheapest: UsedUp | None = None
        for index in indexes:
            refused = self.refused.get(index)
            if refused is None:
                return None
            if cheapest is None or refused.worst < cheapest.worst:
                cheapest = refused
        return cheapest

    def draw(self, shard: Shard, commit: Commit) -> int | None:
        """Return how much more a shard should like to be given with a commit; None to ask for nothing."""
        if not commit.intents or not (self.held or shard.granted is not None):
            return None
        short = shard.granted is None or slack(shard, commit) < 0
        if not (short or self._must_ask) or self._clock.monotonic() < self._ask_from:
            return None
        counts = shard.counts
        to_come = max(0, counts.pending - len(commit.outcomes) - len(commit.intents))
        return to_come * sum(commit.intents.values()) // len(commit.intents)

    def room(self, shard: Shard, commit: Commit) -> int | None:
        """Return what is left of the shard's slice once a commit is made; None where no budget holds it."""
        if shard.granted is None:
            return 0 if self.held else None
        return max(0, slack(shard, commit))

    async def judge(self, shard: Shard, refused: Mapping[int, int], *, asked: bool) -> dict[int, Verdict]:
        """Say what becomes of calls that a commit has announced in vain, by item index.

        Args:
            shard: The shard as it is.
            refused: Their worst cases.
            asked: Whether the commit has asked for more.

        Returns:
            None for a call that is to be announced again at once.
        """
        now = self._clock.monotonic()
        if not asked and now < self._ask_from:
            return {index: _later(self._ask_from - now) for index in refused}
        if not asked:
            self._must_ask = True
            return dict.fromkeys(refused)
        self._must_ask = False
        try:
            standing = await self._stock.take_stock(shard.tenant, shard.job_id)
        except ServiceError as error:
            if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.ABORTED):
                raise
            return self._wait(refused)
        return self._judged(refused, standing)

    def _judged(self, refused: Mapping[int, int], standing: Standing) -> dict[int, Verdict]:
        verdicts: dict[int, Verdict] = {}
        waiting: dict[int, int] = {}
        total = 0
        for index, worst in refused.items():
            total += worst
            account = standing.exhausted_by(worst)
            if account is not None:
                used_up = UsedUp(account, worst)
                self._limit.learn(used_up, self._clock)
                verdicts[index] = self._refused(index, used_up)
                total -= worst
            elif not self._retried and standing.fits(total):
                verdicts[index] = None
            else:
                waiting[index] = worst
        self._retried = any(each is None for each in verdicts.values())
        self._must_ask = self._retried
        return verdicts | (self._wait(waiting) if waiting and not self._retried else self._later_all(waiting))

    def _refused(self, index: int, used_up: UsedUp) -> BudgetRefusedError:
        if index not in self.refused:
            self._on_refused(used_up.account)
        self.refused[index] = used_up
        return BudgetRefusedError(str(used_up), used_up=used_up)

    def _wait(self, refused: Mapping[int, int]) -> dict[int, Verdict]:
        self._retried = False
        self._ask_from = self._clock.monotonic() + self._retry_s
        return self._later_all(refused)

    def _later_all(self, refused: Mapping[int, int]) -> dict[int, Verdict]:
        return {index: _later(self._retry_s) for index in refused}


def _later(delay_s: float) -> BudgetRefusedError:
    return BudgetRefusedError("the budget is set aside for calls that are out", retry_in_s=delay_s)
