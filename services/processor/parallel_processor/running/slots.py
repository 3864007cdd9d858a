"""Who may call the model next: bounded slots, for the most urgent and then the longest waiting."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from parallel_processor.jobs.job import Priority


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Where a caller stands in the queue: smaller goes first.

    Attributes:
        urgency: The negative of its priority.
        since: When its job was started.
    """

    urgency: int
    since: datetime

    @staticmethod
    def of(priority: Priority, since: datetime) -> Rank:
        """Return the rank of a job's items."""
        return Rank(-int(priority), since)

    @property
    def priority(self) -> Priority:
        """The priority it was made from."""
        return Priority(-self.urgency)


@dataclass(slots=True, order=True)
class _Waiter:
    rank: Rank
    order: int
    granted: asyncio.Future[None] = field(compare=False)


class _Hold:
    """Holds a slot for as long as its context lasts."""

    __slots__ = ("_rank", "_slots")

    def __init__(self, slots: Slots, rank: Rank) -> None:
        self._slots = slots
        self._rank = rank

    async def __aenter__(self) -> None:
        await self._slots.take(self._rank)

    async def __aexit__(self, *_: object) -> None:
        self._slots.give_back()


class Slots:
    """A priority semaphore. Its mutable state: how many slots are taken, and the heap of waiters.

    Attributes:
        active: Slots taken now.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.active = 0
        self._waiters: list[_Waiter] = []
        self._order = count()

    @property
    def limit(self) -> int:
        """The most slots at a time. Raising it grants slots at once; lowering it takes none away."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._grant()

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        return sum(not each.granted.done() for each in self._waiters)

    def waiting_by_priority(self) -> Counter[Priority]:
        """Callers that wait for a slot, by priority."""
        return Counter(each.rank.priority for each in self._waiters if not each.granted.done())

    def hold(self, rank: Rank) -> _Hold:
        """Hold a slot within; waits for one in the order of ranks, then of arrival."""
        return _Hold(self, rank)

    async def take(self, rank: Rank) -> None:
        """Take a slot, in turn; `hold` is the safe way."""
        if self.active < self.limit and not self._waiters:
            self.active += 1
            return
        waiter = _Waiter(rank, next(self._order), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, waiter)
        self._grant()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.give_back()  # it was granted in the moment of the cancellation
            raise

    def give_back(self) -> None:
        """Free a slot that was taken."""
        self.active -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiters and (self.active < self.limit or self._waiters[0].granted.done()):
            waiter = heapq.heappop(self._waiters)
            if not waiter.granted.done():
                self.active += 1
                waiter.granted.set_result(None)
