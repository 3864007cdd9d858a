"""Which jobs a caller asks for."""

from __future__ import annotations

from dataclasses import dataclass

from progress_tracker.progress import JobProgress
from progress_tracker.report import JobPriority, JobState


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions that must all hold; what is empty or unknown is no condition.

    Attributes:
        user: Who owns the job.
        state: Its state.
        priority: How urgent it is.
        label_key: A label it has.
        label_value: What that label says; only with a key, whose value may also be empty.
    """

    user: str = ""
    state: JobState = JobState.UNKNOWN
    priority: JobPriority = JobPriority.UNKNOWN
    label_key: str = ""
    label_value: str = ""

    def matches(self, progress: JobProgress) -> bool:
        """Tell whether a job fulfils every condition."""
        return (
            (not self.user or progress.user == self.user)
            and (not self.state or progress.state is self.state)
            and (not self.priority or progress.priority is self.priority)
            and (not self.label_key or progress.labels.get(self.label_key) == self.label_value)
        )
