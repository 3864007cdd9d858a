"""What a worker has in hand of each tenant and job, and so what it should claim next: nothing too much.

A job should have about as many items in line as it has with the model, so that a slot that is given back
finds the next one waiting; more would be kept from other workers. But whoever has a backlog has something in
hand: what is not here cannot get its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from parallel_processor.jobs.job import Job, Priority
from parallel_processor.queueing.queue import Queue
from parallel_processor.queueing.rank import Rank

_BUFFER = 2
"""How often what it has with the model a tenant has in line while others are here: a gap costs it."""

_JOBS_AT_ONCE = 8
"""The most jobs of a tenant in hand only so that each has its share; the others take turns."""


class Run(Protocol):
    """A shard that runs here."""

    @property
    def job(self) -> Job:
        """The job it is part of."""
        ...

    @property
    def unprepared(self) -> int:
        """Items that have been begun and do not stand in line yet."""
        ...


class Line(Protocol):
    """The slots, as far as they tell who waits for one."""

    @property
    def limit(self) -> int:
        """The most slots at a time."""
        ...

    @property
    def active(self) -> int:
        """Slots taken now."""
        ...

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        ...

    @property
    def queue(self) -> Queue:
        """Who waits."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """Items with the model, and items that wait for it or will soon."""

    active: int
    ready: int


class Hand:
    """What is in hand at one moment."""

    def __init__(self, runs: Iterable[Run], line: Line, *, places: int) -> None:
        """Count it.

        Args:
            runs: The shards that run here.
            line: The slots.
            places: The most shards for those who have some already.
        """
        self._line = line
        self._places = places
        self._shards = 0
        self._shards_of_tenant: Counter[str] = Counter()
        self._preparing: Counter[str] = Counter()
        self._jobs: dict[str, dict[str, int]] = {}
        self._highest: dict[str, Priority] = {}
        for run in runs:
            self._shards += 1
            self._count(run.job, run.unprepared)

    def _count(self, job: Job, unprepared: int) -> None:
        tenant = job.tenant
        self._shards_of_tenant[tenant] += 1
        self._preparing[tenant] += unprepared
        jobs = self._jobs.setdefault(tenant, {})
        jobs[job.job_id] = jobs.get(job.job_id, 0) + unprepared
        self._highest[tenant] = max(self._highest.get(tenant, Priority.LOW), job.priority)

    @property
    def has_room(self) -> bool:
        """Whether there are too few items here to keep the slots busy."""
        line = self._line
        ready = line.active + line.waiting + self._preparing.total()
        return self._shards < self._places and ready < 2 * line.limit

    def wants(self, rank: Rank) -> bool:
        """Whether to claim a shard of this job, if it is its turn."""
        if not self._has_place(rank):
            return False
        tenant = self._load(self._line.queue.loads(rank.tenant), self._preparing[rank.tenant])
        buffered = tenant.active * (_BUFFER if len(self._shards_of_tenant) > 1 else 1)
        if tenant.ready < max(1, buffered):
            return True
        free = max(0, self._line.limit - self._line.active)
        if self.has_room and tenant.ready < tenant.active + free:
            return True
        return self._has_no_share(rank)

    def _has_place(self, rank: Rank) -> bool:
        """Whether there is a place: beyond the usual number only for whoever has none."""
        if self._shards < self._places:
            return True
        if rank.priority is Priority.URGENT:
            newcomer = rank.job_id not in self._jobs.get(rank.tenant, {})
        else:
            newcomer = not self._shards_of_tenant[rank.tenant]
        return newcomer and self._shards < 2 * self._places

    def _has_no_share(self, rank: Rank) -> bool:
        """Whether it is as urgent as any job of its tenant here, and has too little here for its share."""
        jobs = self._jobs.get(rank.tenant, {})
        if rank.priority < self._highest.get(rank.tenant, Priority.LOW):
            return False
        if rank.job_id not in jobs:
            return len(jobs) < _JOBS_AT_ONCE or rank.priority is Priority.URGENT
        job = self._load(self._line.queue.job_loads(rank.tenant, rank.job_id), jobs[rank.job_id])
        return job.ready < job.active

    @staticmethod
    def _load(of: tuple[int, int], preparing: int) -> Load:
        active, waiting = of
        return Load(active, waiting + preparing)
