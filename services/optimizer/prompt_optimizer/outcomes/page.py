"""A page of quality records: what is stored of one tenant's outcomes in one document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from prompt_optimizer.outcomes.record import Part, QualityRecord, mark_of
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import VersionKey

MOST_RECORDS = 500
"""Most records on a page: about 60 KiB, so a page is read at little cost."""

MOST_LISTED = 100
"""Most parts, versions, content types and grades on a page: each is an element of a list that is indexed."""


class Page:
    """Parts that are stored together. It grows until it is closed, and never changes after that.

    Its mutable state: the parts, what is summed up of them, and whether it is closed.

    Attributes:
        page_id: Names the page; stays the same however often it is sent.
        mark: Is booked with it, so that a page whose fate was unknown is recognised.
        parts: What is on it, oldest first.
        sums: What they add to the statistics of versions.
        create_time: When it was begun.
        closed: Whether it may have been sent, so that it must not grow.
    """

    __slots__ = ("_grades", "_records", "_types", "closed", "create_time", "mark", "page_id", "parts", "sums")

    def __init__(self, tenant: str, page_id: str, *, now: datetime) -> None:
        self.page_id = page_id
        self.mark = mark_of(tenant, "page", page_id)
        self.parts: list[Part] = []
        self.sums: dict[VersionKey, Statistics] = {}
        self.create_time = now
        self.closed = False
        self._types: set[str] = set()
        self._grades: set[tuple[str, int]] = set()
        self._records = 0

    def __len__(self) -> int:
        """Return how many records are on it."""
        return self._records

    def add(self, part: Part) -> bool:
        """Take a part; False, and nothing taken, if the page is closed or full. An empty page takes any."""
        if self.closed or len(self.parts) == MOST_LISTED:
            return False
        types = self._types | {each.content_type for each in part.records}
        grades = self._grades | _grades(part.records)
        if (
            self._records + len(part.records) > MOST_RECORDS
            or max(len(types), len(grades), len(self.sums.keys() | part.sums.keys())) > MOST_LISTED
        ):
            return False
        self.parts.append(part)
        self._types, self._grades = types, grades
        self._records += len(part.records)
        add_to(self.sums, part.sums)
        return True


def add_to(sums: dict[VersionKey, Statistics], added: Mapping[VersionKey, Statistics]) -> None:
    """Add statistics to those of the same versions."""
    for key, each in added.items():
        sums[key] = sums[key].plus(each) if key in sums else each


def _grades(records: tuple[QualityRecord, ...]) -> set[tuple[str, int]]:
    return {(each.content_type, each.grade) for each in records if each.grade is not None}
