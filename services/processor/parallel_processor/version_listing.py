"""Pages of content versions, and one of them: bounded in number, in bytes and in what is read for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from parallel_processor.content_versions.question import Position, Question, parse_position
from parallel_processor.content_versions.version import ContentVersion, VersionChunk
from parallel_processor.repository import ContentVersionRepository

_PAGE_BYTES = 2_000_000
_FRAME_BYTES = 1_000
"""What a version takes beside its content, at most."""

_PAGE_CHUNKS = 64
"""The most chunks of results read for a page, however few versions they give."""


@dataclass(slots=True)
class _Page:
    """A page being filled."""

    limit: int
    with_content: bool
    versions: list[ContentVersion] = field(default_factory=list)
    room: int = _PAGE_BYTES

    def take(self, version: ContentVersion) -> bool:
        """Add a version if there is room; there is for the first, however large it is."""
        weight = _FRAME_BYTES + (len(version.piece.content.encode()) if self.with_content else 0)
        if self.versions and (len(self.versions) >= self.limit or weight > self.room):
            return False
        self.versions.append(version)
        self.room -= weight
        return True


class ContentVersions:
    """Reads content versions."""

    def __init__(self, kept: ContentVersionRepository) -> None:
        self._kept = kept

    async def get(self, tenant: str, version_id: str) -> ContentVersion:
        """Return a version.

        Raises:
            ServiceError: NOT_FOUND if the tenant has none of this id.
        """
        return await self._kept.get(tenant, version_id)

    async def list_page(
        self, tenant: str, question: Question, *, limit: int, page_token: str, with_content: bool
    ) -> tuple[list[ContentVersion], str]:
        """Return a page of versions in the question's order, and the token of the next.

        Args:
            tenant: Whose versions.
            question: Which, in which order.
            limit: The most to return.
            page_token: Where to begin; empty for the beginning.
            with_content: Whether they are wanted with their content, which then counts towards the page.

        Raises:
            ServiceError: INVALID_ARGUMENT if the token is not one of this question.
        """
        page = _Page(limit, with_content)
        left = _PAGE_CHUNKS
        async with aclosing(self._chunks(tenant, question, parse_position(page_token, question))) as chunks:
            async for turn, chunk in chunks:
                for version in filter(question.wants, chunk.versions):
                    if not page.take(version):
                        next_one = Position(turn, chunk.create_time, chunk.chunk_id, version.place)
                        return question.sorted(page.versions), next_one.token(question)
                left -= 1
                if not left:
                    behind = Position(turn, chunk.create_time, chunk.chunk_id)
                    return question.sorted(page.versions), behind.token(question)
        return question.sorted(page.versions), ""

    async def _chunks(
        self, tenant: str, question: Question, start: Position | None
    ) -> AsyncGenerator[tuple[int, VersionChunk], None]:
        """Yield what answers the question from a position on, with the turn of the selection it is of."""
        for turn, selection in enumerate(question.selections()):
            if start is None or turn >= start.turn:
                begin = start if start is not None and turn == start.turn else None
                async with aclosing(self._kept.newest(tenant, selection, start=begin)) as chunks:
                    async for chunk in chunks:
                        yield turn, chunk
