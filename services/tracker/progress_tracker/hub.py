"""Who watches what on this tracker, and how commits reach them, also another tracker's on the same store.

A commit made here is announced at once. A watched job that was not committed here lately is looked up in the
store every poll interval: a watcher sees another tracker's commit at most that much later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from progress_tracker.board import Board, Subscription
from progress_tracker.feed import JobFeed
from progress_tracker.job_filter import JobFilter
from progress_tracker.job_log import LogChanges
from progress_tracker.ledger import JobKey, Outcome
from progress_tracker.progress import JobProgress, ProgressPage
from progress_tracker.report import Report
from progress_tracker.resume_token import ResumeTokens

_LOOKUPS_AT_ONCE = 200
_CLOCK_SKEW = timedelta(seconds=5)
_log = structlog.get_logger("progress_tracker.hub")


class ProgressStore(Protocol):
    """Where other trackers' commits are found."""

    async def progress_of(self, jobs: Sequence[JobKey]) -> list[JobProgress | None]:
        """Return the snapshots of several jobs."""
        ...

    async def written_since(self, tenant: str, since: datetime, cursor: str | None) -> ProgressPage:
        """Return a page of the snapshots written at or after a time, the earliest first."""
        ...


class Hub:
    """Feeds and boards, each as long as someone watches it.

    Attributes:
        feeds: By tenant and job.
        boards: By tenant.
    """

    def __init__(self, store: ProgressStore, tokens: ResumeTokens, *, clock: Clock, poll_s: float) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._poll_s = poll_s
        self._closed = False
        self.feeds: dict[JobKey, JobFeed] = {}
        self.boards: dict[str, Board] = {}

    @contextmanager
    def follow(self, tenant: str, job_id: str) -> Iterator[JobFeed]:
        """Watch a job while inside."""
        feed = self.feeds.get((tenant, job_id))
        if feed is None:
            feed = self.feeds[tenant, job_id] = self._new_feed(tenant, job_id)
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.stop_timer()
                del self.feeds[tenant, job_id]

    @contextmanager
    def subscribe(self, tenant: str, wanted: JobFilter) -> Iterator[tuple[Board, Subscription]]:
        """Watch a tenant's jobs while inside."""
        board = self.boards.get(tenant)
        if board is None:
            board = self.boards[tenant] = Board(self._clock.now() - _CLOCK_SKEW)
            board.closed = self._closed
        subscription = Subscription(wanted)
        board.subscriptions.add(subscription)
        try:
            yield board, subscription
        finally:
            board.subscriptions.discard(subscription)
            if not board.subscriptions:
                del self.boards[tenant]

    def committed(self, tenant: str, changes: LogChanges) -> None:
        """Announce a commit made here."""
        feed = self.feeds.get((tenant, changes.progress.job_id))
        if feed is not None:
            feed.committed(changes.progress, changes.first_sequence, changes.events)
        board = self.boards.get(tenant)
        if board is not None:
            board.post(changes.progress)

    def acknowledged(self, reports: Sequence[Report], outcomes: Sequence[Outcome]) -> None:
        """Answers concern the caller alone."""

    async def refresh(self, tenant: str, job_id: str, feed: JobFeed) -> JobProgress | None:
        """Look a job up in the store now, ahead of any announcement; None if it is not there."""
        found = (await self._store.progress_of([(tenant, job_id)]))[0]
        feed.observed(found)
        return found

    async def poll(self) -> None:
        """Look for other trackers' commits until cancelled; a store out of reach is tried again."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.look()
            except ServiceError as error:
                _log.warning("poll_failed", reason=error.reason)

    async def look(self) -> None:
        """Look for other trackers' commits once."""
        before = asyncio.get_running_loop().time() - self._poll_s
        keys = [
            key
            for key, feed in self.feeds.items()
            if feed.committed_at < before and not (feed.progress and feed.progress.is_complete)
        ]
        for start in range(0, len(keys), _LOOKUPS_AT_ONCE):
            await self._look_up(keys[start : start + _LOOKUPS_AT_ONCE])
        for tenant, board in list(self.boards.items()):
            await self._read_board(tenant, board)

    def close(self) -> None:
        """End every watch, and every one to come."""
        self._closed = True
        for feed in self.feeds.values():
            feed.close()
        for board in self.boards.values():
            board.close()

    async def _look_up(self, keys: Sequence[JobKey]) -> None:
        for key, progress in zip(keys, await self._store.progress_of(keys), strict=True):
            feed = self.feeds.get(key)
            if feed is not None:
                feed.observed(progress)

    async def _read_board(self, tenant: str, board: Board) -> None:
        started = self._clock.now()
        cursor: str | None = None
        while True:
            page = await self._store.written_since(tenant, board.read_until, cursor)
            for each in page.progress:
                board.post(each)
            cursor = page.next_cursor
            if cursor is None:
                break
        board.read_until = started - _CLOCK_SKEW

    def _new_feed(self, tenant: str, job_id: str) -> JobFeed:
        def make_token(log_id: str, sequence: int) -> str:
            return self._tokens.make(tenant, job_id, log_id=log_id, sequence=sequence)

        feed = JobFeed(make_token)
        feed.closed = self._closed
        return feed
