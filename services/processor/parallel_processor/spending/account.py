"""A budget as it stands, and how large a slice of it may be set aside; pure arithmetic in micros of dollars.

Money is set aside before it is spent, at the most it can come to, and what is set aside never exceeds the
cap: so the cap holds whatever happens to those who spend (escrow: O'Neil, "The Escrow Transactional Method",
TODS 1986). Whoever spends gets a slice, so that not every call asks; slices shrink as the cap comes near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SHARE = 16
"""The part of what is left, one in so many, that a slice may hold beyond what is needed at once."""


@dataclass(frozen=True, slots=True)
class Account:
    """A budget as it stands.

    Attributes:
        name: Whose budget, for people: `job` or `tenant`.
        cap: The most that may be spent; None for no limit.
        settled: What is spent and accounted for, uncertain spend at its worst.
        granted: What is set aside in slices that are still open.
    """

    name: str
    cap: int | None
    settled: int = 0
    granted: int = 0

    @property
    def left(self) -> int | None:
        """What may still be set aside; None without a limit."""
        return None if self.cap is None else max(0, self.cap - self.settled - self.granted)


def slice_of(accounts: Iterable[Account], *, need: int, wish: int) -> int:
    """Return how much may be set aside: what is needed at once, and beyond it a part of what is left.

    Args:
        accounts: The budgets that all must bear it.
        need: What is needed at once; less is returned only if there is no more.
        wish: What would be needed in the long run.
    """
    lefts = [left for each in accounts if (left := each.left) is not None]
    if not lefts:
        return max(need, wish)
    least = min(lefts)
    return min(least, max(need, min(wish, least // _SHARE)))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the budgets stand that a call must fit into, once nobody holds more than is out.

    Attributes:
        accounts: The budgets, the job's first; `settled` here is all that is spent, also in slices that are
            open, and `granted` what is set aside beyond that: for calls that are out.
        left: What may still be set aside in each, in their order; None without a limit.
    """

    accounts: tuple[Account, ...]
    left: tuple[int | None, ...]

    @property
    def is_quiet(self) -> bool:
        """Whether no call of the job is out."""
        return self.accounts[0].granted <= 0

    def fits(self, worst_case: int) -> bool:
        """Whether a call may be made now."""
        return all(left is None or worst_case <= left for left in self.left)

    def exhausted_by(self, worst_case: int) -> Account | None:
        """Return the budget that cannot bear a call, even if all calls that are out turn out to be free."""
        for each in self.accounts:
            if each.cap is not None and each.settled + worst_case > each.cap:
                return each
        return None
