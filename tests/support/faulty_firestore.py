"""A wire to Firestore that loses answers when told to, and lets others in at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from google.api_core.exceptions import from_grpc_status
from grpc import StatusCode
from service_common.storage.firestore.connection import Connection


class FaultyConnection:
    """A wire that loses answers.

    Attributes:
        before: How many commits are lost on the way there.
        after: How many answers are lost on the way back.
        meanwhile: What somebody else commits right after the next lost one.
        between: What somebody else commits right after the next query was answered.
        commits: How many were sent.
        reads: How many reads by key were sent.
        requests: The reads by key themselves.
        deaf: Whether listening is refused.
        mute: Whether what listeners should hear gets lost.
        listens: What was asked for by those who listened, in order.
    """

    def __init__(self, inner: Connection) -> None:
        self.inner = inner
        self.before = 0
        self.after = 0
        self.meanwhile: Any = None
        self.between: Any = None
        self.commits = 0
        self.reads = 0
        self.requests: list[Any] = []
        self.deaf = False
        self.mute = False
        self.listens: list[Any] = []
        self._streams: set[asyncio.Queue[Any]] = set()

    async def commit(self, request: Any) -> Any:
        """Commit, or lose it."""
        self.commits += 1
        if self.before:
            self.before -= 1
            await self._interfere()
            raise _lost()
        answer = await self.inner.commit(request)
        if self.after:
            self.after -= 1
            await self._interfere()
            raise _lost()
        return answer

    async def batch_get(self, request: Any) -> list[Any]:
        """Read."""
        self.reads += 1
        self.requests.append(request)
        return await self.inner.batch_get(request)

    async def run_query(self, request: Any) -> list[Any]:
        """Query."""
        answers = await self.inner.run_query(request)
        if self.between is not None:
            interference, self.between = self.between, None
            await interference()
        return answers

    async def listen(self, request: Any) -> AsyncGenerator[Any, None]:
        """Listen, until it is cut off."""
        self.listens.append(request)
        if self.deaf:
            raise _lost()
        stream: asyncio.Queue[Any] = asyncio.Queue()
        self._streams.add(stream)
        hearing = asyncio.create_task(self._hear(request, stream))
        try:
            while (answer := await stream.get()) is not None:
                yield answer
            raise _lost()
        finally:
            hearing.cancel()
            self._streams.discard(stream)

    async def _hear(self, request: Any, stream: asyncio.Queue[Any]) -> None:
        async for answer in self.inner.listen(request):
            if not self.mute:
                stream.put_nowait(answer)

    def cut(self) -> None:
        """Cut all streams off."""
        for each in self._streams:
            each.put_nowait(None)

    async def close(self) -> None:
        """Close."""
        await self.inner.close()

    async def _interfere(self) -> None:
        if self.meanwhile is not None:
            interference, self.meanwhile = self.meanwhile, None
            await interference()


def _lost() -> Exception:
    lost: Exception = from_grpc_status(StatusCode.UNAVAILABLE, "lost")  # type: ignore[no-untyped-call]
    return lost
