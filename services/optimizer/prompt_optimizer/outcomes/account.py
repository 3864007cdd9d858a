"""The account of one version: its sums, and the marks of what was booked last.

The marks travel with the sums, in one document. Whoever adds reads it in the same transaction, so a part that
two processes hold, or a commit whose fate was unknown, is found out at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prompt_optimizer.outcomes.statistics import Statistics

REMEMBERED = 1000
"""Marks an account keeps; those of one flush never push out one another."""


@dataclass(frozen=True, slots=True)
class Account:
    """What came of a version.

    Attributes:
        statistics: The sums.
        booked: The marks of the latest parts and pages in them, oldest first.
    """

    statistics: Statistics = field(default_factory=Statistics)
    booked: tuple[bytes, ...] = ()

    def book(self, added: Statistics, marks: Iterable[bytes]) -> Account:
        """Return the account with more in it."""
        return Account(self.statistics.plus(added), (*self.booked, *marks)[-REMEMBERED:])
