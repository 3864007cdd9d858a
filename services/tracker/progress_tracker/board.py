"""What is new about a tenant's jobs, for those who watch by filter: the latest state of each, conflated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from progress_tracker.change_signal import Signal
from progress_tracker.job_filter import JobFilter
from progress_tracker.progress import JobProgress

MAX_KNOWN_JOBS = 100_000


class Subscription:
    """The jobs one watcher has yet to hear of; at most one state per job.

    A job that no longer matches is told once more, so that the watcher sees it leave.

    Attributes:
        changed: Fires when there is something to take.
    """

    def __init__(self, wanted: JobFilter) -> None:
        self._wanted = wanted
        self._waiting: dict[str, JobProgress] = {}
        self._shown: set[str] = set()
        self.changed = Signal()

    def offer(self, progress: JobProgress) -> None:
        """Note a job's state, if it is wanted."""
        matches = self._wanted.matches(progress)
        if not matches and progress.job_id not in self._shown:
            # It may have matched in between, unseen: then there is nothing to tell any more.
            self._waiting.pop(progress.job_id, None)
            return
        self._waiting[progress.job_id] = progress
        self.changed.fire()

    def take(self, limit: int) -> list[JobProgress]:
        """Return states not taken before, the longest waiting first."""
        taken = [self._waiting.pop(job_id) for job_id in list(self._waiting)[:limit]]
        for each in taken:
            if self._wanted.matches(each) and not each.is_complete:
                self._shown.add(each.job_id)
            else:
                self._shown.discard(each.job_id)
        return taken


class Board:
    """The newest states of a tenant's jobs, handed to every subscription once.

    Attributes:
        subscriptions: Those who watch.
        read_until: The time of writing up to which the store has been read.
        closed: Whether the tracker is shutting down.
    """

    def __init__(self, read_until: datetime) -> None:
        self._known: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self.subscriptions: set[Subscription] = set()
        self.read_until = read_until
        self.closed = False

    def post(self, progress: JobProgress) -> None:
        """Tell a job's state, unless it or a newer one was told before."""
        if not self.is_news(progress):
            return
        self._known[progress.job_id] = (progress.log_id, progress.revision)
        self._known.move_to_end(progress.job_id)
        if len(self._known) > MAX_KNOWN_JOBS:
            self._known.popitem(last=False)
        for each in self.subscriptions:
            each.offer(progress)

    def is_news(self, progress: JobProgress) -> bool:
        """Tell whether nothing as new was posted about the job."""
        log_id, revision = self._known.get(progress.job_id, ("", 0))
        return log_id != progress.log_id or progress.revision > revision

    def offer_stored(self, subscription: Subscription, stored: Iterable[JobProgress]) -> None:
        """Tell one subscription what was read from the store, where nothing newer was posted."""
        for each in stored:
            if self.is_news(each):
                subscription.offer(each)

    def close(self) -> None:
        """Let every subscription know that it is over."""
        self.closed = True
        for each in self.subscriptions:
            each.changed.fire()
