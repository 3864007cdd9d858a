"""The jobs that may have shards to claim, as this worker knows them, and whose turn it is.

Shards are claimed in the order in which slots are given out (`queueing`): fairly between tenants, by priority
and weight among a tenant's jobs. A job's terms are read from the job, never from its shards, so that a change
of them is one write however large the backlog is. Each worker does so for itself; what all claim together is
fair because what each claims is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.shard import Shard
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.rank import Rank
from parallel_processor.queueing.tenant_flow import Turn

_CLAIMED_FROM = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED})
"""States in which a job's shards are claimed; a cancelled job's, to be ended."""

_SHARD_ITEMS = 100
_MOST_JOBS = 10_000
_READY_KEPT_S = 2.0


@dataclass(slots=True, eq=False)
class Source:
    """A job that may have shards to claim.

    Attributes:
        job: The job as it is known.
        rank: Whose it is, and its terms.
        ready: Shards that could be claimed when they were seen.
        seen_at: When that was.
        turn: Its place in line; None while it has nothing to claim.
        due: When it may have something to claim again, while it has no place in line.
        looks_back_at: When to look for shards that a worker has left behind.
    """

    job: Job
    rank: Rank
    ready: list[Shard] = field(default_factory=list)
    seen_at: float = float("-inf")
    turn: Turn | None = None
    due: float = 0.0
    looks_back_at: float = 0.0


class Backlog:
    """What there may be to claim. Its mutable state: the sources, their line, and when others come due.

    All times are seconds since 1970.
    """

    def __init__(self, tenant_weights: Mapping[str, float] | None = None) -> None:
        self._line = FairQueue(tenant_weights)
        self._sources: dict[str, Source] = {}
        self._due: list[tuple[float, str]] = []

    @property
    def waiting(self) -> int:
        """Jobs that may have something to claim now."""
        return self._line.waiting

    @property
    def line(self) -> FairQueue:
        """The jobs in line, to be read."""
        return self._line

    def next_due(self) -> float:
        """Return when the next job may have something to claim that has nothing now; infinite for never."""
        return self._due[0][0] if self._due else float("inf")

    def knows(self, job: Job) -> bool:
        """Whether a job is known as it is."""
        source = self._sources.get(job.job_id)
        return source is not None and source.job.stir_time == job.stir_time

    def job(self, job_id: str) -> Job | None:
        """Return a job as it is known."""
        source = self._sources.get(job_id)
        return source.job if source else None

    def learn(self, job: Job, now: float) -> None:
        """Take note of a job, or of how it has changed."""
        if job.state not in _CLAIMED_FROM or job.finish_time is not None:
            self.forget(job.job_id, now)
            return
        rank, source = Rank.of_job(job), self._sources.get(job.job_id)
        if source is None:
            if len(self._sources) >= _MOST_JOBS:
                return
            source = self._sources[job.job_id] = Source(job, rank)
            self._stand(source, now)
        elif source.job.stir_time != job.stir_time or source.rank != rank:
            source.job, source.rank = job, rank
            if source.turn is None:
                self._stand(source, now)
            else:
                self._line.change(rank, now=now)
                self._line.forget_change(rank.tenant, rank.job_id)

    def forget(self, job_id: str, now: float) -> None:
        """Drop a job: it has nothing left to claim."""
        source = self._sources.pop(job_id, None)
        if source is not None:
            self._leave(source, now)

    def rung(self, now: float) -> None:
        """Take note that any job may have something to claim."""
        for source in self._sources.values():
            self._stand(source, now)
        self._due.clear()

    def freed(self, job_id: str, now: float) -> None:
        """Take note that a job has something to claim."""
        if source := self._sources.get(job_id):
            self._stand(source, now)

    def pick(self, wanted: Callable[[Rank], bool], now: float) -> Source | None:
        """Return the job whose turn it is to have a shard claimed, of those that are wanted."""
        while self._due and self._due[0][0] <= now:
            _, job_id = heapq.heappop(self._due)
            source = self._sources.get(job_id)
            if source is not None and source.due <= now:
                self._stand(source, now)
        for tenant in self._line.tenants():
            turn = self._line.peek(tenant, now=now)
            if turn is not None and wanted(turn.job.rank):
                return self._sources[turn.job.name]
        return None

    def seen(self, source: Source, ready: Sequence[Shard], *, next_expiry: float, now: float) -> None:
        """Take note of what a job has to claim; if it has nothing, of when it may have again."""
        source.ready, source.seen_at = [*ready], now
        if not ready:
            self._rest(source, next_expiry, now)

    def is_seen(self, source: Source, now: float) -> bool:
        """Whether what a job has to claim was seen lately."""
        return bool(source.ready) and now - source.seen_at <= _READY_KEPT_S

    def claimed(self, source: Source, items: int, now: float) -> None:
        """Take note that a shard of a job was claimed, and let it stand in line again behind others."""
        if source.turn is None:
            return
        turn, source.turn = source.turn, None
        self._line.begin(turn, now=now)
        self._line.over(turn, items, now=now)
        self._stand(source, now)

    def _stand(self, source: Source, now: float) -> None:
        if source.turn is None:
            source.turn = self._line.join(source.rank, _SHARD_ITEMS, now=now)

    def _rest(self, source: Source, until: float, now: float) -> None:
        """Take a job out of the line until it may have something to claim again."""
        self._leave(source, now)
        source.due = until
        heapq.heappush(self._due, (until, source.rank.job_id))

    def _leave(self, source: Source, now: float) -> None:
        """Take a job out of the line; whoever has picked it meanwhile finds it without a place."""
        turn, source.turn = source.turn, None
        if turn is not None:
            self._line.leave(turn, now=now)
