"""The tracker is told where jobs stand in the queue: with reports of their shards, or alone if none runs."""

from __future__ import annotations

from collections.abc import Collection

from service_common.clock import Clock

from parallel_processor.jobs.job import Job
from parallel_processor.queueing.queue import Queue
from parallel_processor.queueing.standing import Standing, Standings
from parallel_processor.running.backlog import Backlog
from parallel_processor.running.reporting import Reporter, queue_report

_TOLD_AT_ONCE = 100


class QueueNews:
    """Tells where jobs stand, each at most once a second, and only what has changed."""

    def __init__(self, line: Queue, backlog: Backlog, *, reporter: Reporter, clock: Clock) -> None:
        self._backlog = backlog
        self._standings = Standings(line, backlog.line)
        self._reporter = reporter
        self._clock = clock

    def of(self, job: Job) -> Standing | None:
        """Return where a job stands, for a report that is sent anyway; None if that is no news."""
        return self._standings.news(job.tenant, job.job_id, now=self._clock.now().timestamp())

    def tell(self, in_hand: Collection[str]) -> None:
        """Tell of jobs of which nothing is in hand, the first of them in the queue."""
        now = self._clock.now()
        for tenant, job_id in [*self._standings.order(now.timestamp())][:_TOLD_AT_ONCE]:
            job = self._backlog.job(job_id)
            if job is None or job_id in in_hand:
                continue
            standing = self._standings.news(tenant, job_id, now=now.timestamp())
            if standing is not None:
                self._reporter.submit(queue_report(job, standing, now))
