"""Who may call the model next: bounded slots, given out in the order of a fair queue.

A slot is taken in two steps. `take` gives the turn to prepare a call, to a few more than may call; `begin`
lets it be made. So a place with the model does not stand empty while its next call gets its lease.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias

from service_common.clock import Clock, SystemClock

from parallel_processor.jobs.job import Priority
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.rank import Rank
from parallel_processor.queueing.tenant_flow import Turn

__all__ = ["OnTurn", "Rank", "Slots"]

OnTurn: TypeAlias = Callable[[Priority, float], None]
"""Is told, of each call that gets a slot, its job's priority and how many seconds it waited."""


class Slots:
    """A semaphore with a fair queue. Its mutable state: the queue, who has a turn, who calls, and who waits.

    Attributes:
        active: Turns taken now, of those who prepare and those who call.
        calling: Of these, those who call; never more than the limit but for a limit that was lowered.
        ahead: How many turns are given beyond the limit.
        by_itself: Whether turns are given as soon as the limit lets them; otherwise they wait for `give`.
    """

    def __init__(
        self,
        limit: int,
        *,
        clock: Clock | None = None,
        tenant_weights: Mapping[str, float] | None = None,
        on_turn: OnTurn | None = None,
    ) -> None:
        """Begin with all slots free.

        Args:
            limit: The most slots at a time.
            clock: Time.
            tenant_weights: The share of some tenants; that of all others is 1.
            on_turn: Is told, of each call that gets a slot, its job's priority and how long it waited.
        """
        self.active = 0
        self.calling = 0
        self.ahead = 0
        self.by_itself = True
        self._limit = limit
        self._clock = clock or SystemClock()
        self._queue = FairQueue(tenant_weights)
        self._on_turn = on_turn
        self._granted: dict[Turn, asyncio.Future[None]] = {}
        self._prepared: deque[asyncio.Future[None]] = deque()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: on CPython 3.11 every asking is a system call."""
        return asyncio.get_running_loop()

    @property
    def limit(self) -> int:
        """The most calls at a time; a higher one is used at once, a lower one as calls end."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._admit()
        if self.by_itself:
            self._fill()

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        return self._queue.waiting

    @property
    def queue(self) -> FairQueue:
        """Who waits, to be read."""
        return self._queue

    def waiting_by_priority(self) -> Counter[Priority]:
        """Callers that wait for a slot, by priority."""
        return self._queue.waiting_by_priority()

    def rerank(self, rank: Rank) -> None:
        """Let a job's callers that wait stand where its new priority, weight or deadline say."""
        self._queue.change(rank, now=self._now())

    def forget(self, tenant: str, job_id: str) -> None:
        """Forget how a job was changed, once none of its items can come any more."""
        self._queue.forget_change(tenant, job_id)

    def join(self, rank: Rank, bound: int = 1) -> Turn:
        """Stand in line; `wait` must follow."""
        turn = self._queue.join(rank, bound, now=self._now())
        self._granted[turn] = self._loop.create_future()
        if self.by_itself:
            self._fill()
        return turn

    async def wait(self, turn: Turn) -> Turn:
        """Wait for a turn that is in line."""
        granted = self._granted[turn]
        try:
            if not granted.done():
                await granted
        except asyncio.CancelledError:
            if not turn.is_over:
                self._queue.leave(turn, now=self._now())
            elif not granted.cancelled():
                self.give_back(turn, used=0)  # it was granted in the moment of the cancellation
            raise
        finally:
            del self._granted[turn]
        return turn

    async def begin(self) -> None:
        """Begin the call of a turn that was taken; waits while as many call as may."""
        if self.calling < self._limit and not self._prepared:
            self.calling += 1
            return
        admitted: asyncio.Future[None] = self._loop.create_future()
        self._prepared.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._end()  # it was admitted in the moment of the cancellation
            raise

    def give_back(self, turn: Turn, *, used: int | None = None, begun: bool = False) -> None:
        """Give a turn back.

        Args:
            turn: What `take` returned.
            used: Tokens the call took; None if that is not known.
            begun: Whether `begin` returned.
        """
        self.active -= 1
        self._queue.over(turn, used, now=self._now())
        if begun:
            self._end()
        if self.by_itself:
            self._fill()

    def _end(self) -> None:
        self.calling -= 1
        self._admit()

    def _admit(self) -> None:
        while self._prepared and self.calling < self._limit:
            admitted = self._prepared.popleft()
            if not admitted.done():
                self.calling += 1
                admitted.set_result(None)

    def give(self, turn: Turn | None = None) -> None:
        """Give a turn that waits, or the next one; an asker that is gone gets none, and nobody its turn."""
        now = self._now()
        if turn is not None:
            self._queue.begin(turn, now=now)
        elif (turn := self._queue.next(now=now)) is None:
            return
        granted = self._granted[turn]
        if granted.cancelled():  # it leaves, and has not come to say so
            self._queue.over(turn, 0, now=now)
            return
        self.active += 1
        granted.set_result(None)
        if self._on_turn is not None:
            self._on_turn(turn.job.rank.priority, now - turn.since)

    def _fill(self) -> None:
        while self.active < self._limit + self.ahead and self._queue.waiting:
            self.give()

    def _now(self) -> float:
        return self._clock.now().timestamp()
