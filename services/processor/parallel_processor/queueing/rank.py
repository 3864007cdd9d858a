"""What decides a caller's place in the queue: whose it is, how urgent, its share, and by when."""

from __future__ import annotations

from datetime import datetime

from service_common.frozen import dataclass

from parallel_processor.jobs.job import Job, Priority
from parallel_processor.jobs.terms import NORMAL_WEIGHT

AGING_S = 300.0
"""After so many seconds of waiting an item stands one class higher, and after as many again the next one."""

_HIGHEST = Priority.HIGH
"""No waiting lifts anything to where somebody waits for the answer."""

_LAST_PART = 0.2
"""In the last part of the time from its start to its deadline a job stands one class higher."""


@dataclass(frozen=True, slots=True)
class Rank:
    """What decides a caller's place in the queue.

    Attributes:
        priority: How urgent its job is.
        since: When its job was started, in seconds since 1970; of two that are equal the earlier goes first.
        tenant: Whose it is.
        job_id: The job; empty for interactive calls.
        weight: The job's share among the tenant's jobs of one class.
        rises_at: When the nearness of its deadline lifts it by a class, in seconds since 1970; infinite for
            never.
    """

    priority: Priority
    since: float
    tenant: str = ""
    job_id: str = ""
    weight: int = NORMAL_WEIGHT
    rises_at: float = float("inf")

    @staticmethod
    def of(priority: Priority, since: datetime, *, tenant: str = "") -> Rank:
        """Return the rank of a call that is part of no job."""
        return Rank(priority, since.timestamp(), tenant)

    @staticmethod
    def of_job(job: Job) -> Rank:
        """Return the rank of a job's items."""
        since = (job.start_time or job.create_time).timestamp()
        rises_at = float("inf")
        if job.terms.deadline is not None:
            deadline = job.terms.deadline.timestamp()
            rises_at = deadline - _LAST_PART * max(0.0, deadline - since)
        return Rank(job.priority, since, job.tenant, job.job_id, job.terms.weight, rises_at)

    def level(self, waiting_since: float, now: float) -> int:
        """Return the class in which an item stands that has waited since a time."""
        if self.priority >= _HIGHEST:
            return int(self.priority)
        aged = int(max(0.0, now - waiting_since) / AGING_S)
        return min(int(_HIGHEST), int(self.priority) + aged + (now >= self.rises_at))

    def next_rise(self, waiting_since: float, now: float) -> float:
        """Return when the item rises next; infinite when it cannot."""
        if self.level(waiting_since, now) >= _HIGHEST:
            return float("inf")
        steps = int(max(0.0, now - waiting_since) / AGING_S) + 1
        by_age = waiting_since + steps * AGING_S
        return min(by_age, self.rises_at) if self.rises_at > now else by_age
