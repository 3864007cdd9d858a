"""When a job rests for want of budget; pure.

It is decided over the job and its tenant's budget at once: a budget that is raised is either seen here, or
finds the job resting.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.life import paused
from parallel_processor.spending.drawing import Books, job_account
from parallel_processor.spending.refusal import UsedUp

TENANT_PROBE_AFTER = timedelta(hours=1)
"""How long a job rests whose tenant's budget is used up, before it tries again although nobody told it to."""


def rested(books: Books, used_up: UsedUp, now: datetime) -> Job:
    """Return the job paused until its budget is raised; as it is when that has happened or it is over."""
    if not books.job.state.started or not _is_used_up(books, used_up):
        return books.job
    probe_after = TENANT_PROBE_AFTER if used_up.account.name == "tenant" else None
    return paused(books.job, used_up.why(books.job.job_id), now, probe_after=probe_after)


def _is_used_up(books: Books, used_up: UsedUp) -> bool:
    """Whether a budget is the one that was found used up, and has not room for the call."""
    account = job_account(books.job)
    if used_up.account.name == "tenant":
        if books.tenant is None:
            return False
        account = books.tenant.account
    return account.cap == used_up.account.cap and not (account.left is None or account.left >= used_up.worst)
