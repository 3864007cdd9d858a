"""What a call hears that a budget cannot bear."""

from __future__ import annotations

EXHAUSTED = "BUDGET_EXHAUSTED"
"""The reason of what is not made because a budget is used up."""


class BudgetRefusedError(Exception):
    """A call may not be made now.

    Attributes:
        exhausted: Whether it may not be made later either, unless a cap is raised.
        retry_in_s: When to ask again otherwise: calls that are out may turn out cheaper than feared.
    """

    def __init__(self, message: str, *, exhausted: bool, retry_in_s: float = 0.0) -> None:
        super().__init__(message)
        self.exhausted = exhausted
        self.retry_in_s = retry_in_s
