"""Jobs under way, as owners and the processor itself change them: paused, resumed, updated, ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.jobs.job import Job, StateReason, judged
from parallel_processor.jobs.life import (
    PAUSED_BY_REQUEST,
    cancelled,
    deleted,
    expired,
    paused,
    resumed,
    updated,
)
from parallel_processor.jobs.retrying import check_retryable, lost_items
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import JobRepository, ShardRepository

_log = structlog.get_logger("parallel_processor.lifetime")
_SHARDS_AT_ONCE = 100


class Lifetime:
    """Changes jobs. Each change is one transition in the store; what follows from it happens by itself.

    Its mutable state: the jobs that are being paused from within, so that many failed calls pause a job once.
    """

    def __init__(
        self,
        jobs: JobRepository,
        shards: ShardRepository,
        *,
        clock: Clock,
        on_change: Callable[[Job], None],
        on_retry: Callable[[Job, Sequence[Shard]], None],
        on_deleted: Callable[[Job], None],
    ) -> None:
        """Prepare to change jobs.

        Args:
            jobs: Where they are.
            shards: Where their shards are.
            clock: Time.
            on_change: Called with each job as it has become: tells shards that run here, other processors and
                the tracker.
            on_retry: Called with a job and the shards of it that were opened again.
            on_deleted: Called with a job whose documents are to be removed.
        """
        self._jobs = jobs
        self._clock = clock
        self._shards = shards
        self._on_change = on_change
        self._on_retry = on_retry
        self._on_deleted = on_deleted
        self._pausing: set[str] = set()

    async def pause(self, tenant: str, job_id: str) -> Job:
        """Pause a job on its owner's request.

        Raises:
            ServiceError: FAILED_PRECONDITION if it is a draft or over.
        """
        now = self._clock.now()
        return await self._change(tenant, job_id, lambda job: paused(job, PAUSED_BY_REQUEST, now))

    async def pause_because(
        self, tenant: str, job_id: str, reason: StateReason, *, probe_after: timedelta | None = None
    ) -> None:
        """Pause a job because it cannot go on; a job that is over or paused already stays as it is.

        What fails is logged: whoever finds the job unable to go on next says so again.
        """
        if job_id in self._pausing:
            return
        self._pausing.add(job_id)
        try:
            now = self._clock.now()
            await self._change(tenant, job_id, lambda job: paused(job, reason, now, probe_after=probe_after))
        except ServiceError as error:
            _log.info("pause_delayed", job_id=job_id, reason=error.reason)
        finally:
            self._pausing.discard(job_id)

    async def resume(self, tenant: str, job_id: str) -> Job:
        """Let a paused job go on.

        Raises:
            ServiceError: FAILED_PRECONDITION if it is a draft or over.
        """
        now = self._clock.now()
        return await self._change(tenant, job_id, lambda job: resumed(job, now))

    async def update(
        self, tenant: str, job_id: str, *, fields: Mapping[str, Any], terms: Mapping[str, Any]
    ) -> Job:
        """Change fields of a job, and of its terms.

        Raises:
            ServiceError: FAILED_PRECONDITION if what is to change matters no more.
        """
        now = self._clock.now()
        return await self._change(tenant, job_id, lambda job: updated(job, fields, terms, now))

    async def give_up_on(self, tenant: str, job_id: str, *, failed: int) -> None:
        """Give up a job of which so many items have failed, if its terms do not tolerate that."""
        now = self._clock.now()
        await self._change(tenant, job_id, lambda job: judged(job, failed, now))

    async def expire(self, tenant: str, job_id: str) -> None:
        """Give up a job whose deadline has passed."""
        now = self._clock.now()
        await self._change(tenant, job_id, lambda job: expired(job, now))

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Stop a job; a finished one is returned as it is."""
        now = self._clock.now()
        return await self._change(tenant, job_id, lambda job: cancelled(job, now))

    async def retry_failed(self, tenant: str, job_id: str) -> tuple[Job, int]:
        """Let the items of a job that ended without content be worked on again.

        Returns:
            The job, and how many items that are.

        Raises:
            ServiceError: FAILED_PRECONDITION if the job cannot run.
        """
        now = self._clock.now()
        job = await self._jobs.get(tenant, job_id)
        check_retryable(job, now)
        round_, items, part = job.retries + 1, 0, []
        for phase in ShardPhase:
            async for shard in self._jobs.shards_in(job, phase):
                if lost := lost_items(shard):
                    items += lost
                    part.append(shard)
        for start in range(0, len(part), _SHARDS_AT_ONCE):
            shards = part[start : start + _SHARDS_AT_ONCE]
            job, opened = await self._shards.retry(job, shards, now=now, round_=round_)
            self._on_retry(job, opened)
        return job, items

    async def delete(self, tenant: str, job_id: str) -> None:
        """Let a draft or a finished job be gone; its documents are removed soon.

        Raises:
            ServiceError: FAILED_PRECONDITION if it is under way.
        """
        self._on_deleted(await self._jobs.change(tenant, job_id, deleted))

    async def _change(self, tenant: str, job_id: str, transition: Callable[[Job], Job]) -> Job:
        """Apply a transition, and let everyone know if it changed something."""
        before: list[int] = []

        def noted(job: Job) -> Job:
            before.append(job.revision)
            return transition(job)

        after = await self._jobs.change(tenant, job_id, noted)
        if after.revision != before[-1]:
            self._on_change(after)
        return after
