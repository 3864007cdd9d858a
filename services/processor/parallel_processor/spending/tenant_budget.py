"""A tenant's budget over all its jobs and interactive pieces; every change of it is made here.

Shards draw their slices from it as from their job's. A process that serves interactive pieces holds a slice
under its own name and for a while: if it dies, the hold ends, and all of it counts as spent (law 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from parallel_processor.spending.account import Account, slice_of


@dataclass(frozen=True, slots=True)
class Hold:
    """What one process has set aside for interactive pieces.

    Attributes:
        holder: The process.
        amount: How much.
        until: When it counts as spent unless the process has said otherwise.
    """

    holder: str
    amount: int
    until: datetime


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """A tenant's budget as stored.

    Attributes:
        tenant: Whose it is.
        since: What was spent before does not count.
        cap: The most that may be spent; None for no limit.
        spent: What answered calls cost, as far as accounted for.
        uncertain: The most that calls of unknown fate may have cost, likewise.
        granted: What shards that are not settled were given.
        holds: What processes hold.
    """

    tenant: str
    since: datetime
    cap: int | None = None
    spent: int = 0
    uncertain: int = 0
    granted: int = 0
    holds: tuple[Hold, ...] = ()

    @property
    def account(self) -> Account:
        """It as an account."""
        held = sum(each.amount for each in self.holds)
        return Account("tenant", self.cap, self.spent + self.uncertain, self.granted + held)


@dataclass(frozen=True, slots=True)
class Spending:
    """What was spent: surely, and at the most."""

    spent: int = 0
    uncertain: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.spent + self.uncertain

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.spent + other.spent, self.uncertain + other.uncertain)


def reckoned(budget: TenantBudget, now: datetime) -> TenantBudget:
    """Return the budget with holds that have ended counted as spent: their process may have spent all."""
    ended = sum(each.amount for each in budget.holds if each.until <= now)
    if not ended:
        return budget
    alive = tuple(each for each in budget.holds if each.until > now)
    return replace(budget, holds=alive, uncertain=budget.uncertain + ended)


def capped(budget: TenantBudget, cap: int | None, *, start_over: bool, now: datetime) -> TenantBudget:
    """Return the budget with another cap; starting over, what is settled no longer counts."""
    budget = replace(reckoned(budget, now), cap=cap)
    return replace(budget, spent=0, uncertain=0, since=now) if start_over else budget


def held(
    budget: TenantBudget,
    holder: str,
    *,
    spent: Spending,
    need: int,
    wish: int,
    until: datetime,
    now: datetime,
) -> tuple[TenantBudget, int]:
    """Account for what a holder has spent, and let it hold more.

    Args:
        budget: The budget.
        holder: The process.
        spent: What it has spent of its hold since it last said so.
        need: How much more it needs at once; nothing is given if there is less.
        wish: How much more it would like.
        until: When its hold ends from now on.
        now: The time.

    Returns:
        The budget, and how much the holder holds now, unspent; 0 for none.
    """
    budget = reckoned(budget, now)
    mine = next((each for each in budget.holds if each.holder == holder), None)
    rest = 0
    if mine is not None:  # else it has ended and counts as spent already
        rest = max(0, mine.amount - spent.total)
        budget = replace(
            budget,
            spent=budget.spent + spent.spent,
            uncertain=budget.uncertain + spent.uncertain,
            holds=tuple(each for each in budget.holds if each is not mine),
        )
    budget = replace(budget, granted=budget.granted + rest)  # as if set aside, while more is looked for
    more = slice_of([budget.account], need=need, wish=wish) if need or wish else 0
    if more < need:
        more = 0
    budget = replace(budget, granted=budget.granted - rest)
    if rest + more == 0:
        return budget, 0
    return replace(budget, holds=(*budget.holds, Hold(holder, rest + more, until))), rest + more


def given_back(budget: TenantBudget, holder: str, *, spent: Spending, now: datetime) -> TenantBudget:
    """Return the budget with a holder's spending accounted for and the rest of its hold free."""
    after, _ = held(budget, holder, spent=spent, need=0, wish=0, until=now, now=now)
    return replace(after, holds=tuple(each for each in after.holds if each.holder != holder))
