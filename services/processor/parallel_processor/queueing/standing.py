"""Where jobs stand in the queue, told seldom: at most once in a while of each, and only if it is news."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from parallel_processor.jobs.job import Priority
from parallel_processor.queueing.queue import Queue

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands.

    Attributes:
        position: Its place among the jobs that wait here, 1 for the one whose turn is next.
        priority: The priority by which it waits.
        waiting_since: Since when its longest waiting item has waited; of a job of which nothing is here yet,
            since when it could have been begun.
    """

    position: int
    priority: Priority
    waiting_since: datetime


class Standings:
    """Says where jobs stand. Its mutable state: the order as last seen, what was told of each job, and when.

    The jobs whose items wait for a slot come first, then those of which no shard is in hand.
    """

    def __init__(self, line: Queue, backlog: Queue, *, every_s: float = 1.0) -> None:
        """Begin.

        Args:
            line: Who waits for a slot.
            backlog: Whose shards wait to be claimed.
            every_s: How often the order is looked at, and each job told of, at the most.
        """
        self._line = line
        self._backlog = backlog
        self._every_s = every_s
        self._seen_at = float("-inf")
        self._order: Mapping[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], tuple[float, Standing]] = {}

    def order(self, now: float) -> Mapping[tuple[str, str], int]:
        """Return the places of all tenants' jobs that wait, as they were a moment ago at most."""
        if now - self._seen_at >= self._every_s:
            self._seen_at = now
            order = {**self._line.positions()}
            first = len(order)
            for where, position in self._backlog.positions().items():
                order.setdefault(where, first + position)
            self._order = {where: at + 1 for at, where in enumerate(sorted(order, key=order.__getitem__))}
        return self._order

    def news(self, tenant: str, job_id: str, *, now: float) -> Standing | None:
        """Return where a job stands; None if it does not wait, was told of just now, or has not moved."""
        where = tenant, job_id
        told_at, told = self._told.get(where, (float("-inf"), None))
        if now - told_at < self._every_s or (standing := self._standing(where, now)) is None:
            return None
        if standing == told:
            return None
        while len(self._told) >= _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[where] = now, standing
        return standing

    def _standing(self, where: tuple[str, str], now: float) -> Standing | None:
        position = self.order(now).get(where)
        if position is None:
            return None
        for queue in (self._line, self._backlog):
            rank, since = queue.rank_of(*where), queue.waiting_since(*where)
            if rank is not None and since is not None:
                return Standing(position, rank.priority, datetime.fromtimestamp(since, UTC))
        return None
