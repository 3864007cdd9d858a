"""What each job costs in the operations that a hosted database bills, as far as this process causes them.

Work for a job says so once, around it; what it does to the store meanwhile, also in tasks it begins, is the
job's. What clients cause who look at a job is not.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from service_common.storage.metering import Operation

MAX_JOBS = 1_000
"""Jobs whose costs are kept; of one job more, the cost of the oldest so far is told."""

_job: ContextVar[str] = ContextVar("job", default="")


@contextmanager
def spent_on(job_id: str) -> Iterator[None]:
    """Book what is done within on a job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


class JobCosts:
    """Operations by job. Its mutable state: those of jobs that have not ended."""

    def __init__(self, tell: Callable[[Mapping[Operation, int]], None], *, max_jobs: int = MAX_JOBS) -> None:
        """Begin to count.

        Args:
            tell: Is told what a job has cost, when it has ended.
            max_jobs: How many jobs to keep in mind.
        """
        self._tell = tell
        self._max_jobs = max_jobs
        self._spent: OrderedDict[str, Counter[Operation]] = OrderedDict()

    def count(self, operation: Operation, number: int) -> None:
        """Book some operations on the job that is being worked for, if there is one."""
        job_id = _job.get()
        if not job_id or not number:
            return
        self._spent.setdefault(job_id, Counter())[operation] += number
        if len(self._spent) > self._max_jobs:
            self.ended(next(iter(self._spent)))

    def ended(self, job_id: str) -> None:
        """Tell what a job has cost, and forget it."""
        if spent := self._spent.pop(job_id, None):
            self._tell(spent)
