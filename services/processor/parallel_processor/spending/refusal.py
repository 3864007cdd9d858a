"""What a call hears that a budget cannot bear, and what its job says while it rests for that."""

from __future__ import annotations

from dataclasses import dataclass

from parallel_processor.jobs.job import StateReason
from parallel_processor.jobs.life import OUT_OF_BUDGET
from parallel_processor.spending.account import Account

EXHAUSTED = OUT_OF_BUDGET
"""The reason of what is not made because a budget is used up."""

_WHAT_TO_DO = {
    "job": "raise it with UpdateJob (factory update {job_id} --max-cost DOLLARS), and the job goes on",
    "tenant": "raise it with SetTenantBudget (factory budget set DOLLARS), and the job goes on",
}


@dataclass(frozen=True, slots=True)
class UsedUp:
    """A budget that cannot bear a call, even if all calls that are out turn out to be free.

    Attributes:
        account: The budget.
        worst: The most that the call may cost.
    """

    account: Account
    worst: int

    def __str__(self) -> str:
        """Say it to people."""
        return (
            f"of the {self.account.name}'s budget of {self.account.cap} micros {self.account.settled} are "
            f"spent, and a call may cost up to {self.worst}"
        )

    def why(self, job_id: str) -> StateReason:
        """Return why a job rests, and what its owner can do."""
        helps = _WHAT_TO_DO[self.account.name].format(job_id=job_id)
        return StateReason(EXHAUSTED, f"{self}; {helps}")


class BudgetRefusedError(Exception):
    """A call may not be made now.

    Attributes:
        used_up: The budget that will not bear it later either, unless it is raised; None when calls that are
            out may turn out cheaper than feared.
        retry_in_s: When to ask again then.
    """

    def __init__(self, message: str, *, used_up: UsedUp | None = None, retry_in_s: float = 0.0) -> None:
        super().__init__(message)
        self.used_up = used_up
        self.retry_in_s = retry_in_s
