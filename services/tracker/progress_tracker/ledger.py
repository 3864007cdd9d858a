"""Reports become durable here, job by job: what arrives while a commit is under way shares the next one.

One commit per job at a time, so a job's log is only ever ahead by the commit under way; where commits are
billed, an interval lies between two of them. A commit that another tracker overtook is redone on what that
one wrote; a commit the store did not take is forgotten, and nobody was told otherwise.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, unavailable

from progress_tracker.commit_load import NO_LOAD, cut
from progress_tracker.job_log import JobLog, LogChanges
from progress_tracker.report import Acknowledgement, Report

MAX_ATTEMPTS = 12
_LONGEST_DELAY_S = 0.1

Outcome = Acknowledgement | ServiceError
JobKey = tuple[str, str]
"""A tenant and a job id."""


class LogStore(Protocol):
    """Where logs are kept."""

    async def load(self, tenant: str, job_id: str) -> JobLog:
        """Return a job's log as stored."""
        ...

    async def commit(self, tenant: str, log: JobLog, changes: LogChanges) -> None:
        """Make changes durable; ABORTED if they were not made to what is stored."""
        ...


class CommitListener(Protocol):
    """Hears of what has become durable."""

    def committed(self, tenant: str, changes: LogChanges) -> None:
        """Take note of a commit; must not block."""
        ...

    def acknowledged(self, reports: Sequence[Report], outcomes: Sequence[Outcome]) -> None:
        """Take note of the answers to reports."""
        ...


@dataclass(slots=True)
class _Submission:
    """Reports of one call about one job, and where the call waits; the rest of a call is urgent."""

    reports: Sequence[Report]
    answer: asyncio.Future[list[Outcome]]
    is_urgent: bool


@dataclass(slots=True)
class _Lane:
    """What is under way for one job."""

    waiting: deque[_Submission] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    log: JobLog | None = None
    committed_at: float = -inf


class Ledger:
    """Takes reports in and answers when they are durable.

    Logs of recent jobs are kept in memory, at most so many jobs and items; the others are read when needed.
    """

    def __init__(
        self,
        store: LogStore,
        *,
        clock: Clock,
        listeners: Sequence[CommitListener],
        max_jobs: int,
        max_items: int,
        interval_s: float = 0.0,
        delay_s: Callable[[int], float] = lambda attempt: random.uniform(
            0, min(_LONGEST_DELAY_S, 0.001 * 2**attempt)
        ),
    ) -> None:
        """Use a store.

        Args:
            store: Keeps the logs.
            clock: Tells arrival times.
            listeners: Hear of every commit, in order, before its reports are answered.
            max_jobs: Logs kept in memory at rest.
            max_items: Items in them altogether.
            interval_s: The least time between two commits of one job; what arrives meanwhile shares the next.
            delay_s: How long to step aside after an attempt, from 0, that another tracker overtook.
        """
        self._store = store
        self._clock = clock
        self._listeners = listeners
        self._max_jobs = max_jobs
        self._max_items = max_items
        self._interval_s = interval_s
        self._delay_s = delay_s
        self._lanes: OrderedDict[JobKey, _Lane] = OrderedDict()
        self._items = 0
        self._closed = asyncio.Event()

    @property
    def jobs(self) -> int:
        """How many jobs' logs are in memory."""
        return len(self._lanes)

    async def record(self, tenant: str, job_id: str, reports: Sequence[Report]) -> list[Outcome]:
        """Make reports durable.

        Args:
            tenant: Whose job.
            job_id: The job.
            reports: In the order of each producer's numbers.

        Returns:
            One answer per report, in order; an error where the report could not be taken.

        Raises:
            ServiceError: If nothing of it is known to be durable, e.g. UNAVAILABLE; repeating is harmless.
        """
        outcomes: list[Outcome] = []
        for part in cut(reports):
            # One after another: a later part must not become durable when an earlier one could not.
            outcomes += await self._submit(tenant, job_id, part, is_urgent=bool(outcomes))
        return outcomes

    async def _submit(
        self, tenant: str, job_id: str, reports: Sequence[Report], *, is_urgent: bool
    ) -> list[Outcome]:
        if self._closed.is_set():
            raise unavailable("DRAINING", "the tracker is shutting down")
        lane = self._lanes.setdefault((tenant, job_id), _Lane())
        self._lanes.move_to_end((tenant, job_id))
        submission = _Submission(reports, asyncio.get_running_loop().create_future(), is_urgent)
        lane.waiting.append(submission)
        if lane.worker is None:
            # Its own context: the work belongs to all who wait, not to the call that came first.
            lane.worker = asyncio.create_task(self._work(tenant, job_id, lane), context=Context())
        return await submission.answer

    async def close(self) -> None:
        """Take no more, and finish what was accepted."""
        self._closed.set()
        workers = [lane.worker for lane in self._lanes.values() if lane.worker is not None]
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, tenant: str, job_id: str, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._turn(lane)
                await self._serve(tenant, job_id, lane, _next_batch(lane.waiting))
        finally:
            lane.worker = None
            self._evict()

    async def _turn(self, lane: _Lane) -> None:
        """Wait until the job may be written again; not for the rest of a call, nor when closing."""
        left_s = lane.committed_at + self._interval_s - self._clock.monotonic()
        if left_s > 0 and not any(each.is_urgent for each in lane.waiting):
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._closed.wait()

    async def _serve(self, tenant: str, job_id: str, lane: _Lane, batch: list[_Submission]) -> None:
        try:
            outcomes = await self._record(tenant, job_id, lane, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller gets it and the lane goes on
            self._forget(lane)
            for each in batch:
                _fail(each.answer, error)
        except BaseException:
            self._forget(lane)
            for each in (*batch, *lane.waiting):
                each.answer.cancel()
            lane.waiting.clear()
            raise
        else:
            for each, answers in zip(batch, outcomes, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answers)

    async def _record(
        self, tenant: str, job_id: str, lane: _Lane, batch: list[_Submission]
    ) -> list[list[Outcome]]:
        for attempt in range(MAX_ATTEMPTS):
            log = lane.log or await self._remember(lane, tenant, job_id)
            items = len(log.items)
            outcomes = [[_apply(log, report, self._clock) for report in each.reports] for each in batch]
            self._items += len(log.items) - items
            changes = log.take_changes(self._clock.now())
            try:
                if changes is not None:
                    await self._store.commit(tenant, log, changes)
                    lane.committed_at = self._clock.monotonic()
            except ServiceError as error:
                if error.kind is not ErrorKind.ABORTED:
                    raise
                self._forget(lane)
                await asyncio.sleep(self._delay_s(attempt))
                continue
            self._tell(tenant, changes, batch, outcomes)
            return outcomes
        raise unavailable("JOB_CONTENDED", "other trackers keep writing this job; repeat the reports")

    def _tell(
        self,
        tenant: str,
        changes: LogChanges | None,
        batch: list[_Submission],
        outcomes: list[list[Outcome]],
    ) -> None:
        for listener in self._listeners:
            if changes is not None:
                listener.committed(tenant, changes)
            for each, answers in zip(batch, outcomes, strict=True):
                listener.acknowledged(each.reports, answers)

    async def _remember(self, lane: _Lane, tenant: str, job_id: str) -> JobLog:
        lane.log = await self._store.load(tenant, job_id)
        self._items += len(lane.log.items)
        return lane.log

    def _forget(self, lane: _Lane) -> None:
        if lane.log is not None:
            self._items -= len(lane.log.items)
            lane.log = None

    def _evict(self) -> None:
        """Drop the logs unused the longest, until the rest fits; those at work stay."""
        excess = [key for key, lane in self._lanes.items() if lane.worker is None]
        for key in excess:
            if len(self._lanes) <= self._max_jobs and self._items <= self._max_items:
                return
            self._forget(self._lanes.pop(key))


def _next_batch(waiting: deque[_Submission]) -> list[_Submission]:
    """Take what one commit can carry, at least one submission."""
    batch = [waiting.popleft()]
    load = NO_LOAD.plus(batch[0].reports)
    while waiting:
        load = load.plus(waiting[0].reports)
        if load.is_too_much:
            break
        batch.append(waiting.popleft())
    return batch


def _apply(log: JobLog, report: Report, clock: Clock) -> Outcome:
    try:
        return log.apply(report, clock.now())
    except ServiceError as error:
        return error


def _fail(answer: asyncio.Future[list[Outcome]], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
