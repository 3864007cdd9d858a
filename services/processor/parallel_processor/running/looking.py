"""Where the shards come from that a worker claims: from the jobs whose turn it is, each look a few reads.

A look first hears of jobs that were started or changed: the listing is in the order in which that happened,
so it reads what is new and little else. Then it reads the first claimable shards of jobs whose turn it is,
unless it has just seen them. Only when none of the jobs it knows has any, it looks over all shards, as for
those of jobs that were started under an earlier release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from service_common.clock import Clock

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.shard import Shard
from parallel_processor.queueing.rank import Rank
from parallel_processor.repository import JobRepository, Look, ShardRepository
from parallel_processor.running.backlog import Backlog, Source

SHARDS_AT_ONCE = 8
_SHARDS_OF_JOB = 4
_JOBS_AT_ONCE = 8
_IDLE_PAGES = 3
"""The most pages in a row that are read though they tell nothing new."""

_OVERLAP = timedelta(seconds=5)
"""Clocks of processors differ, and what is stirred first may be stored last: so far back is read again."""


@dataclass(frozen=True, slots=True)
class Found:
    """A shard to claim, and the job it was found by; None if it was found among all."""

    shard: Shard
    source: Source | None = None


class Looking:
    """Looks for shards. Its mutable state: the backlog, what news there may be, and until when there is none.

    Attributes:
        backlog: The jobs it knows.
    """

    def __init__(
        self,
        jobs: JobRepository,
        shards: ShardRepository,
        *,
        backlog: Backlog,
        clock: Clock,
        rng: Random,
        lease: timedelta,
    ) -> None:
        self.backlog = backlog
        self._jobs = jobs
        self._shards = shards
        self._clock = clock
        self._rng = rng
        self._lease = lease
        self._has_news = self._is_rung = self._left_over = True
        self._due_by = float("-inf")
        self._heard_at: datetime | None = None

    @property
    def has_news(self) -> bool:
        """Whether there may be something that the last look did not hear of."""
        return self._has_news

    @property
    def may_have_more(self) -> bool:
        """Whether the last look may have left something to claim."""
        return self._left_over or self.backlog.waiting > 0 or self.backlog.next_due() <= self._now()

    def rung(self) -> None:
        """Take note that a job was started or changed, or a shard handed back."""
        self._has_news = self._is_rung = True

    def polled(self) -> None:
        """Take note that there may be news that nobody told of."""
        self._has_news = True

    def failed(self) -> None:
        """Take note that a look failed: the next one may leave out nothing."""
        self._has_news = self._is_rung = self._left_over = True
        self._due_by = float("-inf")

    def is_due(self) -> bool:
        """Whether a lease that was seen may have ended, or so long has passed that any may have."""
        return self._clock.monotonic() >= self._due_by

    async def hear(self) -> list[Job]:
        """Hear of jobs that were started or changed since the last time; returns those that are news."""
        news: list[Job] = []
        self._has_news = False
        self._due_by = self._clock.monotonic() + self._lease.total_seconds()
        if self._is_rung:
            self._is_rung = False
            self.backlog.rung(self._now())
        heard_at, began = self._heard_at, self._clock.now()
        cursor: str | None = None
        idle_pages = 0
        while idle_pages < _IDLE_PAGES:
            jobs, cursor = await self._jobs.open_page(limit=_JOBS_AT_ONCE, cursor=cursor)
            fresh = [job for job in jobs if not self.backlog.knows(job)]
            idle_pages = 0 if fresh else idle_pages + 1
            for job in fresh:
                self.backlog.learn(job, self._now())
            news += fresh
            is_heard = heard_at is not None and bool(jobs) and _stirred(jobs[-1]) < heard_at - _OVERLAP
            if cursor is None or is_heard:
                break
        self._heard_at = began
        return news

    async def next(self, wanted: Callable[[Rank], bool]) -> Found | None:
        """Return the next shard to claim of the jobs that are known; None when none of them has any.

        Args:
            wanted: Whether a job's shard should be claimed now.
        """
        for _ in range(SHARDS_AT_ONCE):
            source = self.backlog.pick(wanted, self._now())
            if source is None:
                return None
            shard = await self._first_of(source)
            if shard is not None:
                return Found(shard, source)
        return None

    async def _first_of(self, source: Source) -> Shard | None:
        rank = source.rank
        if not self.backlog.is_seen(source, self._now()):
            now = self._clock.now()
            with spent_on(rank.job_id):
                look = await self._look_at(source, now)
            if look is None:
                self.backlog.forget(rank.job_id, self._now())
                return None
            until = min(look.next_expiry or now + self._lease, now + self._lease)
            self.backlog.seen(source, look.shards, next_expiry=until.timestamp(), now=now.timestamp())
            if not look.shards:
                return None
        # Not always the first: other workers read the same ones.
        return source.ready.pop(self._rng.randrange(len(source.ready)))

    async def _look_at(self, source: Source, now: datetime) -> Look | None:
        """Look for shards of a job, twice a lease at first for those that a worker has left behind.

        Whoever waits for their results, or for the money they hold, must not wait for the whole backlog.
        """
        rank, start = source.rank, source.job.start_time
        if start is not None and now >= start + self._lease and now.timestamp() >= source.looks_back_at:
            left = await self._shards.left_behind_of(
                rank.tenant, rank.job_id, since=start, now=now, limit=_SHARDS_OF_JOB
            )
            if left:
                return Look(left, None)
            source.looks_back_at = (now + self._lease / 2).timestamp()
        return await self._shards.claimable_of(rank.tenant, rank.job_id, now=now, limit=_SHARDS_OF_JOB)

    async def over_all(self) -> Sequence[Found]:
        """Look over the shards of all jobs, the most urgent and then the longest waiting first.

        Whoever claims or renews a lease after this look holds it for longer than a lease from now.
        """
        now, looked_at = self._clock.now(), self._clock.monotonic()
        look = await self._shards.claimable(now=now, limit=SHARDS_AT_ONCE)
        self._left_over = len(look.shards) == SHARDS_AT_ONCE
        until = min(look.next_expiry or now + self._lease, now + self._lease)
        self._due_by = looked_at + (until - now).total_seconds()
        return [Found(each) for each in look.shards]

    def left_over(self) -> None:
        """Take note that not all was claimed that was found."""
        self._left_over = True

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _stirred(job: Job) -> datetime:
    return job.stir_time or job.start_time or job.create_time
