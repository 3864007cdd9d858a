"""Lists quality records, page by page as they are stored: newest first, or by score a grade at a time.

What a filter leaves out was read all the same, so a listing looks at a bounded number of pages and then says
where to go on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prompt_optimizer.outcomes.record import GRADES, QualityRecord, grade_of
from prompt_optimizer.templates.template import VersionKey

MOST_PAGES = 50
"""Most stored pages one listing looks at."""


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """Which records are wanted.

    Attributes:
        version: Of this version; None for any.
        content_type: Of this content type; empty for any.
        min_score: With at least this score; None for any, also none.
        max_score: With at most this score; None for any, also none.
        by_score: The lowest grade first, newest first within a grade; needs a content type, and leaves out
            what has no score. Else newest first.
    """

    version: VersionKey | None = None
    content_type: str = ""
    min_score: float | None = None
    max_score: float | None = None
    by_score: bool = False

    def matches(self, record: QualityRecord, grade: int | None) -> bool:
        """Tell whether a record is wanted, while this grade is looked at; None: all grades at once."""
        if self.version not in (None, record.version) or self.content_type not in ("", record.content_type):
            return False
        if grade is not None and record.grade != grade:
            return False
        if self.min_score is None and self.max_score is None:
            return True
        return record.score is not None and _in(record.score, self.min_score, self.max_score)

    def grades(self) -> Sequence[int | None]:
        """Return the grades to look at one after the other; None for all at once."""
        if not self.by_score:
            return (None,)
        return range(grade_of(self.min_score or 0.0), 1 + _last_grade(self.max_score))


@dataclass(frozen=True, slots=True)
class Where:
    """What is on the pages to look at; at most one is given.

    Attributes:
        version: A record of this version.
        content_type: A record of this content type.
        grade: A record of this content type and grade.
    """

    version: VersionKey | None = None
    content_type: str = ""
    grade: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as it is stored.

    Attributes:
        page_id: Its name.
        time: When it was begun.
        records: Oldest first.
    """

    page_id: str
    time: datetime
    records: tuple[QualityRecord, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a listing.

    Attributes:
        grade: The grade that is looked at; None for all at once.
        time: Of the page.
        page_id: The page.
        passed: Its newest records that were looked at.
    """

    grade: int | None
    time: datetime
    page_id: str
    passed: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A record, and the place behind it."""

    record: QualityRecord
    behind: Position


class StoredPages(Protocol):
    """Pages of records that outlive the process."""

    def pages(self, tenant: str, where: Where, *, until: datetime | None) -> AsyncGenerator[StoredPage, None]:
        """Yield the pages begun until then, newest first, those of equal times by id, the greatest first."""
        ...


class Listing:
    """Answers queries over stored pages."""

    def __init__(self, stored: StoredPages) -> None:
        self._stored = stored

    async def find(
        self, tenant: str, query: RecordQuery, *, after: Position | None, limit: int
    ) -> tuple[list[Placed], Position | None]:
        """Return up to `limit` records, and where to go on; None at the end.

        There may be fewer than `limit`, even none, while there are more.
        """
        found: list[Placed] = []
        looked = 0
        for grade in _from_grade(query.grades(), after):
            start = after if after is not None and after.grade == grade else None
            pages = self._stored.pages(tenant, _where(query, grade), until=start.time if start else None)
            async with aclosing(pages):
                async for page in pages:
                    if start is not None and (page.time, page.page_id) > (start.time, start.page_id):
                        continue
                    for each in _wanted(page, query, grade=grade, start=start):
                        if len(found) == limit:
                            return found, found[-1].behind
                        found.append(each)
                    looked += 1
                    if looked == MOST_PAGES:
                        return found, Position(grade, page.time, page.page_id, len(page.records))
        return found, None


def _wanted(
    page: StoredPage, query: RecordQuery, *, grade: int | None, start: Position | None
) -> Iterator[Placed]:
    passed = start.passed if start is not None and start.page_id == page.page_id else 0
    for index in range(passed, len(page.records)):
        record = page.records[-1 - index]
        if query.matches(record, grade):
            yield Placed(record, Position(grade, page.time, page.page_id, index + 1))


def _from_grade(grades: Iterable[int | None], after: Position | None) -> Iterator[int | None]:
    for grade in grades:
        if after is None or after.grade is None or grade is None or grade >= after.grade:
            yield grade


def _where(query: RecordQuery, grade: int | None) -> Where:
    if grade is not None:
        return Where(grade=(query.content_type, grade))
    if query.version is not None:
        return Where(version=query.version)
    return Where(content_type=query.content_type)


def _last_grade(max_score: float | None) -> int:
    return GRADES if max_score is None else grade_of(max_score)


def _in(score: float, least: float | None, most: float | None) -> bool:
    return (least is None or score >= least) and (most is None or score <= most)
