"""When a job rests because a budget is used up: once nothing of it that could be done is left.

A call that is refused for good says nothing about cheaper ones, which may still fit. So the job goes on as
long as it has any: it rests when for a moment every run of it here has had nothing but calls that no budget
bears, and no call of it is out anywhere, or none that came back for long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from service_common.clock import Clock

from parallel_processor.jobs.job import Job
from parallel_processor.spending.account import Standing
from parallel_processor.spending.purse import Stock
from parallel_processor.spending.refusal import UsedUp

_FOR_S = 1.0
"""How long nothing else must have been in hand: another shard may be claimed, and hold cheaper items."""


_WITHOUT_NEWS_S = 30.0
"""How long calls that are out are waited for: those of a dead worker are until its shard is taken over, for
which there may be no place."""


class Run(Protocol):
    """A shard that runs here."""

    @property
    def used_up(self) -> UsedUp | None:
        """The budget that bears no call of what is in hand; None while something else goes on."""
        ...


@dataclass(slots=True)
class _Lull:
    """A time in which nothing of a job can be done here: when stock is taken next; what was spent, when."""

    next_look: float
    spent: int = -1
    spent_at: float = 0.0


class Exhaustion:
    """Lets jobs rest whose budget is used up. Its mutable state: the lulls, by job."""

    def __init__(
        self,
        stock: Stock,
        *,
        rest: Callable[[Job, UsedUp], Awaitable[None]],
        clock: Clock,
        for_s: float = _FOR_S,
    ) -> None:
        """Prepare to look.

        Args:
            stock: Where budgets stand.
            rest: Pauses a job, unless what it has used up was raised meanwhile.
            clock: Time.
            for_s: How long nothing else must have been in hand.
        """
        self._stock = stock
        self._rest = rest
        self._clock = clock
        self._for_s = for_s
        self._lulls: dict[str, _Lull] = {}

    def keep(self, job_ids: AbstractSet[str]) -> None:
        """Forget all jobs but these, which run here."""
        for gone in self._lulls.keys() - job_ids:
            del self._lulls[gone]

    async def look_at(self, job: Job, runs: Sequence[Run]) -> bool:
        """Let a job rest if nothing of it can be paid; returns whether it does.

        Raises:
            ServiceError: What the store raises.
        """
        cheapest = _cheapest(runs)
        if cheapest is None:
            self._lulls.pop(job.job_id, None)
            return False
        now = self._clock.monotonic()
        lull = self._lulls.setdefault(job.job_id, _Lull(now + self._for_s))
        if now < lull.next_look:
            return False
        lull.next_look = now + self._for_s
        standing = await self._stock.take_stock(job.tenant, job.job_id)
        account = standing.exhausted_by(cheapest.worst)
        if account is None or not _is_over(standing, lull, now):
            return False
        await self._rest(job, UsedUp(account, cheapest.worst))
        return True


def _is_over(standing: Standing, lull: _Lull, now: float) -> bool:
    """Whether no call of the job is out, or none that has come back for long."""
    spent = standing.accounts[0].settled
    if spent != lull.spent:
        lull.spent, lull.spent_at = spent, now
    return standing.is_quiet or now - lull.spent_at >= _WITHOUT_NEWS_S


def _cheapest(runs: Sequence[Run]) -> UsedUp | None:
    """Return the cheapest call that is wanted; None if a run has something else to do."""
    refused = [run.used_up for run in runs]
    known = [each for each in refused if each is not None]
    if not known or len(known) < len(refused):
        return None
    return min(known, key=lambda each: each.worst)
