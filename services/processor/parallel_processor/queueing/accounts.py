"""What each tenant was served over several queues that share what there is: start-time fair queueing again.

The queues keep their own order, for as long as one of them could take more than there is room for. Where two
or more could, the tenant goes next that was served least of all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parallel_processor.queueing.flow import BRIEF_S, IDLE_KEPT, URGENT_LEAD, FairOrder, Flow

MOST_BEHIND = 100_000.0
"""Tokens, per unit of its weight, that a tenant may catch up on when the queue that held it up opens."""


@dataclass(slots=True, eq=False, repr=False)
class Account(Flow):
    """What a tenant was served.

    Attributes:
        left_at: When something of it last ceased to wait.
    """

    left_at: float = float("-inf")


class Accounts:
    """The tenants of several queues. Its mutable state: an account of each, and their order.

    Attributes:
        short: Whether what is given out now leaves none over; only that is charged, as nobody lacks the rest.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Begin with what nobody was served.

        Args:
            weights: The share of some tenants; that of all others is 1.
        """
        self.short = True
        self._weights = weights
        self._accounts: dict[str, Account] = {}
        self._order: FairOrder[Account] = FairOrder()

    def joined(self, tenant: str, *, now: float, count: int = 1) -> None:
        """Take note of work that came to wait."""
        account = self._of(tenant)
        account.waiting += count
        if account.waiting == count:
            if now - account.left_at > BRIEF_S:
                account.come(self._order.time)
            self._place(account)

    def left(self, tenant: str, *, now: float) -> None:
        """Take note of work that ceased to wait."""
        account = self._of(tenant)
        account.waiting -= 1
        account.left_at = now

    def served(self, tenant: str, tokens: float) -> None:
        """Charge what work will probably take, as its turn has come."""
        account = self._of(tenant)
        account.active += 1
        account.served(tokens)
        self._place(account)

    def over(self, tenant: str, tokens: float) -> None:
        """Charge so many tokens more, or fewer, as work has ended."""
        account = self._of(tenant)
        account.active = max(0, account.active - 1)  # it may be from before these accounts
        account.corrected(tokens)
        self._place(account)

    def next(self, can_go: Callable[[str], bool]) -> str | None:
        """Return whose turn it is, of those whose work can go; None when nobody's can."""
        passed: list[Account] = []
        while (account := self._order.first()) is not None and not can_go(account.name):
            account.stamp += 1
            passed.append(account)
        for each in passed:
            self._order.place(each, 0.0)
        if account is None:
            return None
        self._order.time = max(self._order.time, account.tag)
        account.floor = max(account.floor, self._order.time - MOST_BEHIND)
        account.tag = max(account.tag, account.floor)
        return account.name

    def lead_of(self, tenant: str) -> float:
        """Return how far a tenant is beyond its share; infinite where it may not be further still."""
        lead = self._of(tenant).tag - self._order.time
        return lead if lead <= URGENT_LEAD else float("inf")

    def _of(self, tenant: str) -> Account:
        account = self._accounts.get(tenant)
        if account is None:
            self._sweep()
            account = self._accounts[tenant] = Account(tenant, self._weights.get(tenant, 1.0))
            account.come(self._order.time)
        return account

    def _place(self, account: Account) -> None:
        if account.waiting:
            account.stamp += 1
            self._order.place(account, 0.0)

    def _sweep(self) -> None:
        """Drop tenants that have nothing here and owe nothing, before there are many of them."""
        if len(self._accounts) % IDLE_KEPT != IDLE_KEPT - 1:
            return
        for name, each in list(self._accounts.items()):
            if not each.waiting and not each.active and each.finish <= self._order.time:
                del self._accounts[name]
