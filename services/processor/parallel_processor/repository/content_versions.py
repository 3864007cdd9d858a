"""Content versions as documents: the chunks of results themselves, with the fields that find them.

A chunk is written in the one transaction that shows it in its shard, under the epoch that holds the lease,
and is never changed. So every chunk that exists is part of its job, and the pieces in it are versions without
a write of their own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from service_common.errors import ServiceError, not_found
from service_common.storage import Document, DocumentStore, Query, QueryShape

from parallel_processor.content_versions.question import Position
from parallel_processor.content_versions.version import (
    ContentVersion,
    Selection,
    VersionChunk,
    grade_of,
    graded,
    parse_version_id,
)
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.piece import Piece
from parallel_processor.jobs.records import Fields, outcome_to_fields, piece_from_fields
from parallel_processor.repository import schema

_READ_FIRST = 2
_READ_AT_ONCE = 16


def result_chunk_to_fields(job_id: str, outcomes: Mapping[int, Outcome]) -> Fields:
    """Write a chunk of results, findable by the versions in it; one without content is none's.

    It depends on the outcomes alone, so that a commit which is repeated writes the same.
    """
    record: Fields = {
        "job_id": job_id,
        "results": [outcome_to_fields(index, each) for index, each in outcomes.items()],
    }
    made = {each.item_id: each.piece for each in outcomes.values() if each.piece is not None}
    if made:
        record["create_time"] = max(each.finish_time for each in outcomes.values())
        record["item_ids"] = list(made)
        record["content_types"] = sorted({each.content_type for each in made.values()})
        record["grades"] = sorted(set(filter(None, map(_graded, made.values()))))
    return record


class ContentVersionRepository:
    """Finds content versions in the chunks of results."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def get(self, tenant: str, version_id: str) -> ContentVersion:
        """Return a version.

        Raises:
            ServiceError: NOT_FOUND if the tenant has none of this id.
        """
        where = parse_version_id(version_id)
        if where is None:
            raise _no_such_version(version_id)
        chunk_id, place = where
        document = await self._store.get(schema.result_chunk_key(tenant, chunk_id))
        versions = _versions(document) if document is not None else []
        for each in versions:
            if each.place == place:
                return each
        raise _no_such_version(version_id)

    async def newest(
        self, tenant: str, selection: Selection, *, start: Position | None
    ) -> AsyncGenerator[VersionChunk, None]:
        """Yield chunks with a tenant's versions of a selection, newest first, from a position on.

        Few are read at first and more later on, as nobody knows how many versions a chunk gives.
        """
        shape, contains = _shape(selection)
        limit, cursor = _READ_FIRST, None
        while True:
            upper = start.create_time if start is not None else None
            query = Query(shape, {}, tenant, upper=upper, limit=limit, cursor=cursor, contains=contains)
            page = await self._store.query(query)
            for document in page.documents:
                chunk = _chunk(document, selection)
                if start is None or not start.follows(chunk):
                    yield chunk if start is None else start.rest_of(chunk)
            cursor = page.next_cursor
            if cursor is None:
                return
            limit = min(2 * limit, _READ_AT_ONCE)


def _graded(piece: Piece) -> str | None:
    return None if piece.quality is None else graded(piece.content_type, grade_of(piece.quality))


def _shape(selection: Selection) -> tuple[QueryShape, str | None]:
    if selection.item_id:
        return schema.VERSIONS_OF_ITEM, selection.item_id
    if selection.grade is not None:
        return schema.VERSIONS_OF_GRADE, graded(selection.content_type, selection.grade)
    if selection.content_type:
        return schema.VERSIONS_OF_CONTENT_TYPE, selection.content_type
    return schema.VERSIONS_BY_TIME, None


def _chunk(document: Document, selection: Selection) -> VersionChunk:
    data: Mapping[str, Any] = document.data
    versions = tuple(each for each in _versions(document) if selection.admits(each))
    return VersionChunk(document.key.id, data["create_time"], versions)


def _versions(document: Document) -> list[ContentVersion]:
    """Return a chunk's versions, newest first; none of one that was written without what finds them."""
    data: Mapping[str, Any] = document.data
    if "create_time" not in data:
        return []
    versions = [
        ContentVersion(
            chunk_id=document.key.id,
            place=place,
            job_id=data["job_id"],
            item_id=record["item_id"],
            create_time=data["create_time"],
            piece=piece_from_fields(record["piece"]),
        )
        for place, record in enumerate(data["results"])
        if record.get("piece")
    ]
    return versions[::-1]


def _no_such_version(version_id: str) -> ServiceError:
    return not_found("CONTENT_VERSION_NOT_FOUND", f"there is no content version {version_id!r}")
