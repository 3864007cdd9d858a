"""What a listing of content versions asks for, and where it goes on."""

from __future__ import annotations

import base64
import binascii
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256

import orjson
from service_common.errors import ErrorKind, FieldViolation, ServiceError

from parallel_processor.content_versions.version import ContentVersion, Selection, VersionChunk, grade_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEAL_CHARACTERS = 12


class VersionOrder(Enum):
    """In which order versions are listed."""

    NEWEST_FIRST = "NEWEST_FIRST"
    LOWEST_QUALITY_FIRST = "LOWEST_QUALITY_FIRST"
    HIGHEST_QUALITY_FIRST = "HIGHEST_QUALITY_FIRST"


@dataclass(frozen=True, slots=True)
class Question:
    """What a listing asks for.

    Attributes:
        item_id: The item whose versions; empty for all.
        content_type: The content type of the versions; empty for all.
        order: The order; one by quality needs a content type.
        min_quality: The least score, in an order by quality.
        max_quality: The greatest.
    """

    item_id: str = ""
    content_type: str = ""
    order: VersionOrder = VersionOrder.NEWEST_FIRST
    min_quality: float = 0.0
    max_quality: float = 1.0

    def selections(self) -> list[Selection]:
        """Return the queries that answer it one after the other: by quality there is one for each grade."""
        if self.order is VersionOrder.NEWEST_FIRST:
            return [Selection(self.item_id, self.content_type)]
        numbers = range(grade_of(self.min_quality), grade_of(self.max_quality) + 1)
        grades = [Selection(self.item_id, self.content_type, each) for each in numbers]
        return grades if self.order is VersionOrder.LOWEST_QUALITY_FIRST else grades[::-1]

    def wants(self, version: ContentVersion) -> bool:
        """Whether a version of one of the selections is within the bounds, which may cut a grade in two."""
        if self.order is VersionOrder.NEWEST_FIRST:
            return True
        quality = version.piece.quality
        return quality is not None and self.min_quality <= quality <= self.max_quality

    def sorted(self, page: list[ContentVersion]) -> list[ContentVersion]:
        """Return a page's versions in the order asked for, equal ones as they came."""
        if self.order is VersionOrder.NEWEST_FIRST:
            return page
        highest = self.order is VersionOrder.HIGHEST_QUALITY_FIRST
        return sorted(page, key=lambda each: each.piece.quality or 0.0, reverse=highest)

    def seal(self) -> str:
        """Return what tells this question from others."""
        return sha256(orjson.dumps(astuple(self))).hexdigest()[:_SEAL_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a listing goes on: with this version or, if there is none there, with what follows.

    Attributes:
        turn: Which of the question's selections.
        create_time: The time of the chunk.
        chunk_id: The chunk.
        place: The place in the chunk; less than any for what follows the chunk.
    """

    turn: int
    create_time: datetime
    chunk_id: str
    place: int = -1

    def follows(self, chunk: VersionChunk) -> bool:
        """Whether a chunk comes before its own."""
        return (chunk.create_time, chunk.chunk_id) > (self.create_time, self.chunk_id)

    def rest_of(self, chunk: VersionChunk) -> VersionChunk:
        """Return a chunk without those of its versions that come before this position."""
        if chunk.chunk_id != self.chunk_id:
            return chunk
        return replace(chunk, versions=tuple(each for each in chunk.versions if each.place <= self.place))

    def token(self, question: Question) -> str:
        """Return it as an opaque text that belongs to the question."""
        micros = (self.create_time - _EPOCH) // _MICROSECOND
        parts = [question.seal(), self.turn, micros, self.chunk_id, self.place]
        return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def parse_position(token: str, question: Question) -> Position | None:
    """Read a page token of this question; None for the beginning.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is none.
    """
    if not token:
        return None
    try:
        seal, turn, micros, chunk_id, place = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        position = Position(int(turn), _EPOCH + int(micros) * _MICROSECOND, str(chunk_id), int(place))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise _bad_token() from error
    if seal != question.seal() or not 0 <= position.turn < len(question.selections()):
        raise _bad_token()
    return position


def _bad_token() -> ServiceError:
    violation = FieldViolation("page_token", "is not one that was given out for this listing")
    words = f"{violation.field} {violation.description}"
    return ServiceError(ErrorKind.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", words, violations=(violation,))
