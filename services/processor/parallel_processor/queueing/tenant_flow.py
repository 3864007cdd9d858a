"""One tenant's work in the queue: its jobs by class, and within a class in the order of their shares."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from parallel_processor.jobs.job import Priority
from parallel_processor.queueing.flow import IDLE_KEPT, FairOrder, Flow
from parallel_processor.queueing.rank import AGING_S, Rank

URGENT_IN_A_ROW = 15
"""The most turns in a row that a tenant's urgent work gets while other work of it waits."""

URGENT = int(Priority.URGENT)
_JOBS_KEPT = 8
_NEVER = float("inf")
_DOWNWARDS = tuple(sorted(map(int, Priority), reverse=True))


@dataclass(slots=True, eq=False, repr=False)
class Turn:
    """One piece of work: what it is charged, and for whom it waits.

    Attributes:
        since: When it came, in seconds since 1970.
        bound: The most tokens it may take.
        tenant: Whose it is.
        job: The job it is part of.
        charged: Tokens it was charged when its turn came.
        is_over: Whether it no longer waits: its turn has come, or it has left.
        on_account: Whether it was also charged over all queues.
    """

    since: float
    bound: int
    tenant: TenantFlow
    job: JobFlow
    charged: float = 0.0
    is_over: bool = False
    on_account: bool = False


@dataclass(slots=True, eq=False, repr=False)
class JobFlow(Flow):
    """A job's work in the queue.

    Attributes:
        rank: Its priority, weight and deadline.
        own_level: The class of its priority.
        turns: What waits, and may have left, in the order in which it came.
        level: The class in which it stands.
        ratio: What its work takes of what it may take, as measured.
        rise_due: When its level is looked at again at the latest.
    """

    rank: Rank = field(kw_only=True)
    own_level: int = field(kw_only=True)
    turns: deque[Turn] = field(default_factory=deque)
    level: int = 0
    ratio: float = 1.0
    rise_due: float = _NEVER

    def first(self) -> Turn:
        """Return what has waited longest; something must wait."""
        turns = self.turns
        while turns[0].is_over:
            turns.popleft()
        return turns[0]


@dataclass(slots=True, eq=False, repr=False)
class TenantFlow(Flow):
    """A tenant's work in the queue: its jobs, an order of them for each class, and when some will rise.

    Attributes:
        jobs: Its jobs that have work here, or had some lately.
        levels: The orders, by class.
        rises: When to look at a job's class again.
        urgent: Pieces of work of urgent jobs that wait.
        urgent_in_a_row: Turns of urgent work since the last that was not.
        left_at: When something of it last ceased to wait.
    """

    jobs: dict[str, JobFlow] = field(default_factory=dict)
    levels: dict[int, FairOrder[JobFlow]] = field(default_factory=dict)
    rises: list[tuple[float, int, int, JobFlow]] = field(default_factory=list)
    urgent: int = 0
    urgent_in_a_row: int = 0
    left_at: float = -_NEVER

    def next_job(self, now: float) -> JobFlow:
        """Return the job whose turn it is, after letting those rise that are due; something must wait."""
        while self.rises and self.rises[0][0] <= now:
            job = heapq.heappop(self.rises)[-1]
            job.rise_due = _NEVER
            if job.waiting:
                self.stand(job, now)
        found: JobFlow | None = None
        for level in _DOWNWARDS:
            order = self.levels.get(level)
            first = order.first() if order is not None else None
            if first is not None:
                found = first
                if level != URGENT or self.urgent_in_a_row < URGENT_IN_A_ROW:
                    break
        assert found is not None, "a tenant that waits has a job that waits"
        order = self.levels[found.level]
        order.time = max(order.time, found.tag)
        return found

    def stand(self, job: JobFlow, now: float) -> None:
        """Put a job where its tag, its oldest work and its terms say; something of it must wait."""
        since, rank = job.first().since, job.rank
        is_young = now - since < AGING_S and now < rank.rises_at
        level = job.own_level if is_young else rank.level(since, now)
        order = self.levels.get(level)
        if order is None:
            order = self.levels[level] = FairOrder()
        if level != job.level:  # tags of different classes do not compare: it comes as a newcomer
            job.level, job.finish = level, order.time
            job.come(order.time)
        job.stamp += 1
        order.place(job, rank.since)
        if job.rise_due <= since + AGING_S and job.rise_due <= rank.rises_at:
            return  # it will be looked at early enough
        rise_at = rank.next_rise(since, now)
        if rise_at < job.rise_due:
            job.rise_due = rise_at
            heapq.heappush(self.rises, (rise_at, id(job), job.stamp, job))

    def enter(self, job: JobFlow, now: float) -> None:
        """Put a job in that had nothing waiting and has now."""
        if order := self.levels.get(job.level):
            job.come(order.time)
        self.stand(job, now)

    def forget(self, job: JobFlow) -> None:
        """Drop a job if it has nothing here and owes nothing."""
        if job.waiting or job.active:
            return
        order = self.levels.get(job.level)
        if order is None or job.finish <= order.time:
            self.jobs.pop(job.name, None)
        elif not self.waiting and not self.active and len(self.jobs) > _JOBS_KEPT:
            self.jobs.clear()  # nobody is left to whom one of them could owe anything
            self.levels.clear()

    def sweep(self) -> None:
        """Drop the jobs that have nothing here and owe nothing, before there are many of them."""
        if len(self.jobs) % IDLE_KEPT != IDLE_KEPT - 1:
            return
        for name, each in list(self.jobs.items()):
            if not each.waiting and not each.active and each.finish <= self.levels[each.level].time:
                del self.jobs[name]

    def in_order(self) -> list[JobFlow]:
        """Return the jobs that wait in the order of their turns."""
        levels = (self.levels[each] for each in _DOWNWARDS if each in self.levels)
        return [job for level in levels for job in level.in_order()]
