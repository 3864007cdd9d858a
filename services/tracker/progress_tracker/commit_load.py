"""How many reports one commit carries: as many as fit in what every store takes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service_common.storage import SAFE_COMMIT_BYTES

from progress_tracker.report import Report

MAX_COMMIT_REPORTS = 300
MAX_COMMIT_ITEMS = 2000
"""With `SAFE_COMMIT_BYTES` they keep a commit within a store's limits, whoever reports what."""


class CommitLoad(NamedTuple):
    """What reports weigh in a commit."""

    reports: int
    items: int
    size: int

    def plus(self, reports: Sequence[Report]) -> CommitLoad:
        """Return the load with more reports."""
        return CommitLoad(
            self.reports + len(reports),
            self.items + sum(len(each.items) for each in reports),
            self.size + sum(each.weight for each in reports),
        )

    @property
    def is_too_much(self) -> bool:
        """Whether one commit cannot carry it."""
        return (
            self.reports > MAX_COMMIT_REPORTS
            or self.items > MAX_COMMIT_ITEMS
            or self.size > SAFE_COMMIT_BYTES
        )


NO_LOAD = CommitLoad(0, 0, 0)


def cut(reports: Sequence[Report]) -> Iterator[Sequence[Report]]:
    """Cut reports into what one commit can carry each; at least one report."""
    start, load = 0, NO_LOAD
    for end, each in enumerate(reports):
        load = load.plus((each,))
        if load.is_too_much and end > start:
            yield reports[start:end]
            start, load = end, NO_LOAD.plus((each,))
    yield reports[start:]
