"""Who may call the model next: bounded slots, given out in the order of a fair queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Self, TypeAlias

from service_common.clock import Clock, SystemClock

from parallel_processor.jobs.job import Priority
from parallel_processor.running.queueing.fair_queue import FairQueue
from parallel_processor.running.queueing.rank import Rank
from parallel_processor.running.queueing.tenant_flow import Turn

__all__ = ["Hold", "OnTurn", "Rank", "Slots"]

OnTurn: TypeAlias = Callable[[Priority, float], None]
"""Is told, of each call that gets a slot, its job's priority and how many seconds it waited."""


class Hold:
    """Holds a slot for as long as its context lasts.

    Attributes:
        used: Tokens the call took; None, for one whose tokens are not known, counts as was expected.
    """

    __slots__ = ("_bound", "_rank", "_slots", "_turn", "used")

    def __init__(self, slots: Slots, rank: Rank, bound: int) -> None:
        self._slots = slots
        self._rank = rank
        self._bound = bound
        self.used: int | None = None

    async def __aenter__(self) -> Self:
        self._turn = await self._slots.take(self._rank, self._bound)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._slots.give_back(self._turn, used=self.used)


class Slots:
    """A semaphore with a fair queue. Its mutable state: the queue, how many slots are taken, and who waits.

    Attributes:
        active: Slots taken now.
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
        self._limit = limit
        self._clock = clock or SystemClock()
        self._queue = FairQueue(tenant_weights)
        self._on_turn = on_turn
        self._granted: dict[Turn, asyncio.Future[None]] = {}

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: on CPython 3.11 every asking is a system call."""
        return asyncio.get_running_loop()

    @property
    def limit(self) -> int:
        """The most slots at a time; a higher one is used at once, a lower one as slots are given back."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._grant()

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

    def hold(self, rank: Rank, bound: int = 1) -> Hold:
        """Hold a slot within, when its turn has come.

        Args:
            rank: Who asks.
            bound: The most tokens the call may take, about.
        """
        return Hold(self, rank, bound)

    def rerank(self, rank: Rank) -> None:
        """Let a job's callers that wait stand where its new priority, weight or deadline say."""
        self._queue.change(rank, now=self._now())

    def forget(self, tenant: str, job_id: str) -> None:
        """Forget how a job was changed, once none of its items can come any more."""
        self._queue.forget_change(tenant, job_id)

    async def take(self, rank: Rank, bound: int = 1) -> Turn:
        """Take a slot, in turn, to be given back; `hold` is the safe way."""
        turn = self._queue.join(rank, bound, now=self._now())
        granted = self._granted[turn] = self._loop.create_future()
        self._grant()
        if granted.done():
            return turn
        try:
            await granted
        except asyncio.CancelledError:
            if self._granted.pop(turn, None) is not None:
                self._queue.leave(turn, now=self._now())
            elif not granted.cancelled():
                self.give_back(turn, used=0)  # it was granted in the moment of the cancellation
            raise
        return turn

    def give_back(self, turn: Turn, *, used: int | None = None) -> None:
        """Free a slot that was taken.

        Args:
            turn: What `take` returned.
            used: Tokens the call took; None if that is not known.
        """
        self.active -= 1
        self._queue.over(turn, used, now=self._now())
        self._grant()

    def _grant(self) -> None:
        while self.active < self._limit:
            now = self._now()
            turn = self._queue.next(now=now)
            if turn is None:
                return
            granted = self._granted.pop(turn)
            if granted.cancelled():  # it leaves, and has not come to say so
                self._queue.over(turn, 0, now=now)
                continue
            self.active += 1
            granted.set_result(None)
            if self._on_turn is not None:
                self._on_turn(turn.job.rank.priority, now - turn.since)

    def _now(self) -> float:
        return self._clock.now().timestamp()
