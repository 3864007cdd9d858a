"""A queue as those see it who only look: how much each job has in it, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from parallel_processor.queueing.rank import Rank


class Queue(Protocol):
    """Who waits, and whose work is being done."""

    def loads(self, tenant: str) -> tuple[int, int]:
        """Return how much of a tenant's work is being done, and how much waits."""
        ...

    def job_loads(self, tenant: str, job_id: str) -> tuple[int, int]:
        """Return how much of a job's work is being done, and how much waits."""
        ...

    def waiting_since(self, tenant: str, job_id: str) -> float | None:
        """Return since when a job's oldest work waits; None when none waits."""
        ...

    def rank_of(self, tenant: str, job_id: str) -> Rank | None:
        """Return a job's rank as it is now; None if it has no work here."""
        ...

    def positions(self) -> Mapping[tuple[str, str], int]:
        """Return the place, from 1, at which each job that waits has its next turn, about."""
        ...


class QueueOfQueues:
    """Several queues side by side, looked at as one: a job stands where it stands best."""

    __slots__ = ("_queues",)

    def __init__(self, queues: Callable[[], Iterable[Queue]]) -> None:
        """Look at queues.

        Args:
            queues: Says which there are now.
        """
        self._queues = queues

    def loads(self, tenant: str) -> tuple[int, int]:
        """Return how much of a tenant's work is being done, and how much waits."""
        return _sum([each.loads(tenant) for each in self._queues()])

    def job_loads(self, tenant: str, job_id: str) -> tuple[int, int]:
        """Return how much of a job's work is being done, and how much waits."""
        return _sum([each.job_loads(tenant, job_id) for each in self._queues()])

    def waiting_since(self, tenant: str, job_id: str) -> float | None:
        """Return since when a job's oldest work waits; None when none waits."""
        since = [each.waiting_since(tenant, job_id) for each in self._queues()]
        return min((each for each in since if each is not None), default=None)

    def rank_of(self, tenant: str, job_id: str) -> Rank | None:
        """Return a job's rank as it is now; None if it has no work here."""
        ranks = (each.rank_of(tenant, job_id) for each in self._queues())
        return next((each for each in ranks if each is not None), None)

    def positions(self) -> Mapping[tuple[str, str], int]:
        """Return the place, from 1, at which each job that waits has its next turn, about."""
        best: dict[tuple[str, str], int] = {}
        for each in self._queues():
            for where, place in each.positions().items():
                best[where] = min(place, best.get(where, place))
        return best


def _sum(loads: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(active for active, _ in loads), sum(waiting for _, waiting in loads)
