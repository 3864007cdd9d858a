"""Watching, from the watcher's side: past from the store, present from memory, each event once, in order.

A watcher holds a position and one frame, nothing else: whoever reads slowly reads the store later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, not_found, unavailable

from progress_tracker.board import Board, Subscription
from progress_tracker.feed import JobFeed, ends_in_s
from progress_tracker.frame_ring import make_frame
from progress_tracker.frames import Frame, with_token
from progress_tracker.hub import Hub
from progress_tracker.job_filter import JobFilter
from progress_tracker.job_log import Chunk
from progress_tracker.progress import JobProgress, ProgressPage
from progress_tracker.resume_token import ResumeTokens, invalid_resume_token

SNAPSHOTS_PER_FRAME = 100
_CHUNKS_AT_ONCE = 8

EncodeSnapshots = Callable[[Sequence[JobProgress]], bytes]
"""Returns the frame that carries these snapshots."""


class History(Protocol):
    """Where what is durable is read."""

    async def events_after(
        self, tenant: str, progress: JobProgress, sequence: int, *, chunks: int
    ) -> list[Chunk]:
        """Return the chunks that hold the events after a number."""
        ...

    async def oldest_sequence(self, tenant: str, progress: JobProgress) -> int:
        """Return the number of the oldest event kept."""
        ...

    async def list(
        self, tenant: str, *, user: str, state: int, limit: int, cursor: str | None
    ) -> ProgressPage:
        """Return a page of a tenant's snapshots."""
        ...


@dataclass(frozen=True, slots=True)
class EventWatch:
    """What a watcher of events asks for.

    Attributes:
        tenant: Whose job.
        job_id: The job.
        resume_token: After which frame to continue; empty for the first event.
        idle_s: How long to be silent at most.
        wait_for_job: Whether to wait for a job that nobody has reported.
    """

    tenant: str
    job_id: str
    resume_token: str
    idle_s: float
    wait_for_job: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a watcher of snapshots wants to hear.

    Attributes:
        least_s: Shortest time between frames.
        idle_s: How long to be silent at most.
    """

    least_s: float
    idle_s: float


class Watching:
    """Makes the streams of frames."""

    def __init__(
        self,
        hub: Hub,
        history: History,
        tokens: ResumeTokens,
        *,
        clock: Clock,
        encode_snapshots: EncodeSnapshots,
    ) -> None:
        """Use what knows the present and the past.

        Args:
            hub: The present.
            history: The past.
            tokens: Opens resume tokens.
            clock: Tells when a finished job is over.
            encode_snapshots: Makes frames of snapshots.
        """
        self._hub = hub
        self._history = history
        self._tokens = tokens
        self._clock = clock
        self._encode_snapshots = encode_snapshots

    async def events(self, watch: EventWatch) -> AsyncGenerator[bytes, None]:
        """Yield every event of a job after the token, once and in order; ends after the job's last event.

        Raises:
            ServiceError: NOT_FOUND, INVALID_ARGUMENT (INVALID_RESUME_TOKEN), OUT_OF_RANGE
                (EVENTS_TRIMMED), or UNAVAILABLE when the tracker shuts down or the store is out of reach.
        """
        with self._hub.follow(watch.tenant, watch.job_id) as feed:
            if not await self._known(watch, feed):
                async for idle in self._await_job(watch, feed):
                    yield idle
            position, log_id = await self._begin(watch, feed)
            while True:
                known = feed.changed.count
                frame = feed.frame_after(position) or await self._stored_frame(watch.tenant, feed, position)
                progress = _checked(feed, log_id)
                if frame is not None:
                    position = frame.last
                    yield frame.payload
                    continue
                ends_in = ends_in_s(progress, self._clock.now())
                if ends_in == 0:
                    return
                if not await _changed(feed, known, watch.idle_s, ends_in):
                    yield with_token(b"", feed.token(position))

    async def _known(self, watch: EventWatch, feed: JobFeed) -> bool:
        progress = feed.progress or await self._hub.refresh(watch.tenant, watch.job_id, feed)
        if progress is None and not watch.wait_for_job:
            raise job_not_found(watch.job_id)
        return progress is not None

    async def _await_job(self, watch: EventWatch, feed: JobFeed) -> AsyncGenerator[bytes, None]:
        while feed.progress is None:
            known = feed.changed.count
            if feed.closed:
                raise _draining()
            if not await feed.changed.wait(known, watch.idle_s) and feed.progress is None:
                yield b""

    async def _begin(self, watch: EventWatch, feed: JobFeed) -> tuple[int, str]:
        """Return the position of a token, and the history it is of."""
        progress = await self._current(watch.tenant, watch.job_id, feed)
        if not watch.resume_token:
            return 0, progress.log_id
        position = self._tokens.open(
            watch.resume_token, watch.tenant, job_id=watch.job_id, log_id=progress.log_id
        )
        if position > progress.last_sequence:
            # Another tracker may have given the number out a moment ago.
            newest = await self._hub.refresh(watch.tenant, watch.job_id, feed)
            if newest is None or position > newest.last_sequence:
                raise invalid_resume_token()
        return position, progress.log_id

    async def _current(self, tenant: str, job_id: str, feed: JobFeed) -> JobProgress:
        progress = feed.progress or await self._hub.refresh(tenant, job_id, feed)
        if progress is None:
            raise job_not_found(job_id)
        return progress

    async def _stored_frame(self, tenant: str, feed: JobFeed, position: int) -> Frame | None:
        progress = feed.progress
        if progress is None or position >= progress.last_sequence:
            return None
        chunks = await self._history.events_after(tenant, progress, position, chunks=_CHUNKS_AT_ONCE)
        if not chunks:
            raise trimmed(await self._history.oldest_sequence(tenant, progress))
        events = [event for chunk in chunks for event in chunk.after(position)]
        return make_frame(events, 0, first=position + 1, make_token=feed.token)

    async def snapshots_of_job(self, tenant: str, job_id: str, pace: Pace) -> AsyncGenerator[bytes, None]:
        """Yield a job's latest state, now and whenever it has changed; ends with its final one."""
        with self._hub.follow(tenant, job_id) as feed:
            progress = await self._current(tenant, job_id, feed)
            while True:
                known = feed.changed.count
                progress = feed.progress or progress
                yield self._encode_snapshots((progress,))
                if ends_in_s(progress, self._clock.now()) == 0:
                    return
                await asyncio.sleep(pace.least_s)
                while feed.progress is None or feed.progress is progress:
                    ends_in = ends_in_s(progress, self._clock.now())
                    if ends_in == 0:
                        return
                    if not await _changed(feed, known, pace.idle_s, ends_in):
                        yield b""
                    known = feed.changed.count

    async def snapshots_of_jobs(
        self, tenant: str, wanted: JobFilter, pace: Pace
    ) -> AsyncGenerator[bytes, None]:
        """Yield the latest states of all jobs that match, now and whenever some change; does not end."""
        with self._hub.subscribe(tenant, wanted) as (board, subscription):
            anything = False
            async for frame in self._stored_snapshots(tenant, wanted, board, subscription):
                anything = True
                yield frame
            if not anything:
                yield b""
            while True:
                await asyncio.sleep(pace.least_s)
                known = subscription.changed.count
                if board.closed:
                    raise _draining()
                taken = subscription.take(SNAPSHOTS_PER_FRAME)
                if taken:
                    yield self._encode_snapshots(taken)
                elif not await subscription.changed.wait(known, pace.idle_s):
                    yield b""

    async def _stored_snapshots(
        self, tenant: str, wanted: JobFilter, board: Board, subscription: Subscription
    ) -> AsyncGenerator[bytes, None]:
        cursor: str | None = None
        while True:
            page = await self._history.list(
                tenant, user=wanted.user, state=int(wanted.state), limit=SNAPSHOTS_PER_FRAME, cursor=cursor
            )
            board.offer_stored(subscription, page.progress)
            while taken := subscription.take(SNAPSHOTS_PER_FRAME):
                yield self._encode_snapshots(taken)
            cursor = page.next_cursor
            if cursor is None:
                return


async def _changed(feed: JobFeed, known: int, idle_s: float, ends_in: float | None) -> bool:
    """Wait; returns whether to look again rather than to send an idle frame."""
    if feed.closed:
        raise _draining()
    if ends_in is None or ends_in > idle_s:
        return await feed.changed.wait(known, idle_s)
    await feed.changed.wait(known, ends_in)
    return True


def _checked(feed: JobFeed, log_id: str) -> JobProgress:
    """Return the feed's progress, as long as it is of the history the watcher began with."""
    if feed.progress is None:
        raise unavailable("JOB_CHANGED", "the job's history is being read again")
    if feed.progress.log_id != log_id:
        raise trimmed(1)
    return feed.progress


def job_not_found(job_id: str) -> ServiceError:
    """Make the error for a job the tenant does not have."""
    return not_found("JOB_NOT_FOUND", f"there is no job {job_id!r}, or its retention has passed")


def trimmed(oldest: int) -> ServiceError:
    """Make the error for events that are no longer kept."""
    return ServiceError(
        ErrorKind.OUT_OF_RANGE,
        "EVENTS_TRIMMED",
        f"the next events are no longer kept; the oldest is {oldest}: take the snapshot and watch from there",
        metadata={"oldest_sequence": str(oldest)},
    )


def _draining() -> ServiceError:
    return unavailable("DRAINING", "the tracker is shutting down; continue with the last resume token")
