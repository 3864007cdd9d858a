"""A content version: what an item succeeded with in one job, and never changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from math import floor

from parallel_processor.jobs.piece import Piece

GRADES = 20
"""Grades are scores in steps of a twentieth; 1 alone is the last of them."""

_VERSION_ID = re.compile(r"(?P<chunk>.+)\.(?P<place>[0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class ContentVersion:
    """A content version.

    Versions are ordered by the time of their chunk, then by its id, then by their place in it.

    Attributes:
        chunk_id: The chunk of results it is kept in.
        place: Its place in that chunk.
        job_id: The job that made it.
        item_id: The item.
        create_time: When the last outcome of its chunk was reached.
        piece: The content and how it came to be.
    """

    chunk_id: str
    place: int
    job_id: str
    item_id: str
    create_time: datetime
    piece: Piece

    @property
    def version_id(self) -> str:
        """Its name, which says where it is kept."""
        return f"{self.chunk_id}.{self.place}"


@dataclass(frozen=True, slots=True)
class VersionChunk:
    """What one chunk of results has to say to a listing.

    Attributes:
        chunk_id: Its id.
        create_time: When its last outcome was reached.
        versions: Those the listing asks for, newest first.
    """

    chunk_id: str
    create_time: datetime
    versions: tuple[ContentVersion, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which versions one query is for: those that fit all that is set, else all of the tenant's.

    Attributes:
        item_id: Those of this item.
        content_type: Those of this content type.
        grade: Those with this grade, of a content type.
    """

    item_id: str = ""
    content_type: str = ""
    grade: int | None = None

    def admits(self, version: ContentVersion) -> bool:
        """Whether a version is one of them."""
        quality = version.piece.quality
        return (
            self.item_id in ("", version.item_id)
            and self.content_type in ("", version.piece.content_type)
            and (self.grade is None or (quality is not None and self.grade == grade_of(quality)))
        )


def parse_version_id(version_id: str) -> tuple[str, int] | None:
    """Return the chunk and the place that a version's id names; None if it is none."""
    found = _VERSION_ID.fullmatch(version_id)
    return (found["chunk"], int(found["place"])) if found else None


def grade_of(quality: float) -> int:
    """Return a score's grade, 0 to `GRADES`; a higher score never has a lower one."""
    return min(GRADES, max(0, floor(quality * GRADES)))


def graded(content_type: str, grade: int) -> str:
    """Return the word under which a chunk that holds such a version is found, as in `faq/17`."""
    return f"{content_type}/{grade}"
