"""What happens to a job though none of its items ends: deadlines, probes, and shards that do not fit it yet.

Everything here may be done by any processor, by several at once, and again: a change that a crash left half
done is completed by whoever looks next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.job_costs import spent_on
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.life import arranged, attention_at, deleted, ending_of, expired, resumed
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import JobRepository, ShardRepository

_log = structlog.get_logger("parallel_processor.running.caretaking")
_LOOK_EVERY_S = 5.0
_SHARDS_AT_ONCE = 100
_ENDED_AT_ONCE = 8
_FORGOTTEN_AT_ONCE = 20
_OPEN = (ShardPhase.WAITING, ShardPhase.BEGUN)


class Caretaker:
    """Looks after jobs that are due. Its mutable state: whether a look is due before its time."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        shards: ShardRepository,
        clock: Clock,
        retention: timedelta | None,
        take: Callable[[Shard], Awaitable[None]],
        on_change: Callable[[Job], None],
    ) -> None:
        """Prepare to look.

        Args:
            jobs: Where jobs are.
            shards: Where shards are.
            clock: Time.
            retention: How long finished jobs are kept; None: for ever.
            take: Claims a shard of a job that is given up, and runs it to its end.
            on_change: Called with each job whose state has changed here.
        """
        self._jobs = jobs
        self._shards = shards
        self._clock = clock
        self._retention = retention
        self._take = take
        self._on_change = on_change
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look now: a job was changed here."""
        self._wake.set()

    async def run(self) -> None:
        """Look after jobs whenever one was changed here, and every few seconds, for ever."""
        while True:
            self._wake.clear()
            await self.look()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look after every job that is due; what fails is done in the next look."""
        try:
            await self._forget()
            async for job in self._jobs.due(self._clock.now()):
                with spent_on(job.job_id):
                    await self._tend(job)
        except ServiceError as error:
            _log.info("caretaking_delayed", reason=error.reason)

    async def _forget(self) -> None:
        """Delete jobs that finished longer ago than they are kept, a few at a time."""
        if self._retention is None:
            return
        for job in await self._jobs.finished_before(
            self._clock.now() - self._retention, limit=_FORGOTTEN_AT_ONCE
        ):
            if not job.deleted:
                await self._jobs.change(job.tenant, job.job_id, deleted)

    async def _tend(self, job: Job) -> None:
        if job.deleted:
            await self._jobs.remove(job)
            return
        now = self._clock.now()
        job = await self._changed(job, now)
        due_at = attention_at(job)
        if due_at is None or due_at > now:
            return
        is_ending = ending_of(job, now) is not None
        async for part in self._open_shards(job):
            fitting = await self._shards.arrange(job, part, now=now)
            if is_ending:
                await self._end([each for each in fitting if each.is_claimable(now)])
        if not is_ending:  # one that ends is looked after until it has
            await self._jobs.change(job.tenant, job.job_id, lambda each: arranged(each, job.revision))

    async def _changed(self, job: Job, now: datetime) -> Job:
        """Give up what is late, and let a job that rested long enough try again."""

        def transition(each: Job) -> Job:
            each = expired(each, now)
            rested = each.state is JobState.PAUSED and each.probe_at is not None and each.probe_at <= now
            return resumed(each, now) if rested else each

        if transition(job) is job:
            return job
        after = await self._jobs.change(job.tenant, job.job_id, transition)
        if after.revision != job.revision:
            self._on_change(after)
        return after

    async def _open_shards(self, job: Job) -> AsyncIterator[list[Shard]]:
        part: list[Shard] = []
        for phase in _OPEN:
            async for shard in self._jobs.shards_in(job, phase):
                part.append(shard)
                if len(part) == _SHARDS_AT_ONCE:
                    yield part
                    part = []
        if part:
            yield part

    async def _end(self, shards: Sequence[Shard]) -> None:
        """Finish the shards of a job that is given up, a few at a time."""
        for start in range(0, len(shards), _ENDED_AT_ONCE):
            await asyncio.gather(*map(self._take, shards[start : start + _ENDED_AT_ONCE]))
