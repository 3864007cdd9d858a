"""Watching over a real store: each event once and in order, whoever committed it, and an honest end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from progress_tracker.convert import EventMessages, snapshots_frame
from progress_tracker.hub import Hub
from progress_tracker.job_filter import JobFilter
from progress_tracker.ledger import Ledger
from progress_tracker.report import ItemState, JobState, JobUpdate, Totals
from progress_tracker.repository import SCHEMA, Repository
from progress_tracker.resume_token import KEY_BYTES, ResumeTokens
from progress_tracker.watching import EventWatch, Pace, Watching
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage.memory import MemoryStore

from tests.unit.tracker.samples import item, report

SLOW_POLL_S = 3600.0
IDLE_S = 30.0
PACE = Pace(least_s=0.001, idle_s=IDLE_S)
TOKENS = ResumeTokens(b"k" * KEY_BYTES)


class Tracker:
    """One tracker process's parts, without its server."""

    def __init__(self, store: MemoryStore, clock: ManualClock) -> None:
        events = EventMessages()
        self.repository = Repository(
            store, clock=clock, retention=timedelta(days=1), encoder=events, read_items=events.read_items
        )
        self.hub = Hub(self.repository, TOKENS, clock=clock, poll_s=SLOW_POLL_S)
        self.ledger = Ledger(self.repository, clock=clock, listeners=(self.hub,), max_jobs=9, max_items=9999)
        self.watching = Watching(
            self.hub, self.repository, TOKENS, clock=clock, encode_snapshots=snapshots_frame
        )
        self._sequence = 0

    async def items(self, *names: str, state: ItemState = ItemState.SUCCEEDED) -> None:
        """Report items."""
        self._sequence += 1
        await self.ledger.record("t", "j", [report(self._sequence, *(item(name, state) for name in names))])

    async def job(self, state: JobState, *, items: int = 0, ended: int = 0) -> None:
        """Report the job, and how many of its items have ended."""
        self._sequence += 1
        update, totals = JobUpdate(state=state, item_count=items), Totals(succeeded=ended)
        await self.ledger.record("t", "j", [report(self._sequence, job=update, totals=totals)])

    def events(
        self, token: str = "", *, wait: bool = False, idle_s: float = IDLE_S
    ) -> AsyncGenerator[bytes, None]:
        """Watch the job's events."""
        return self.watching.events(
            EventWatch(tenant="t", job_id="j", resume_token=token, idle_s=idle_s, wait_for_job=wait)
        )


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    """Return an empty store."""
    return MemoryStore(SCHEMA, clock)


@pytest.fixture
def tracker(store: MemoryStore, clock: ManualClock) -> Tracker:
    """Return a tracker on it."""
    return Tracker(store, clock)


def parsed(frame: bytes) -> pb.WatchProgressResponse:
    """Return the frame as a client reads it."""
    return pb.WatchProgressResponse.FromString(frame)


def numbers(frame: bytes) -> list[int]:
    """Return the numbers of a frame's events."""
    return [each.sequence for each in parsed(frame).events]


async def reason(stream: AsyncGenerator[bytes, None]) -> ServiceError:
    """Return the error with which a stream ends."""
    with pytest.raises(ServiceError) as caught:
        await anext(stream)
    return caught.value


async def test_a_finished_job_is_replayed_and_the_stream_ends(tracker: Tracker) -> None:
    """The past comes from the store, over chunk borders, and nothing follows the last event."""
    await tracker.items(*(f"i{each}" for each in range(180)))
    await tracker.job(JobState.SUCCEEDED, items=180, ended=180)
    frames = [numbers(frame) async for frame in tracker.events()]
    assert list(range(1, 182)) == [number for frame in frames for number in frame]


async def test_every_token_continues_exactly_behind_its_frame(tracker: Tracker) -> None:
    """Cut after each frame and resumed by its token, a watcher sees each number once, in order."""
    seen: list[int] = []
    token = ""
    for round_number in range(20):
        await tracker.items(*(f"{round_number}-{each}" for each in range(round_number % 7 + 1)))
        stream = tracker.events(token)
        frame = await anext(stream)
        await stream.aclose()
        seen += numbers(frame)
        token = parsed(frame).resume_token
    assert list(range(1, len(seen) + 1)) == seen
    assert tracker.hub.feeds == {}


async def test_watchers_at_one_place_share_the_bytes(tracker: Tracker) -> None:
    """A live frame is made once: two hundred watchers get the same object."""
    await tracker.items("first")
    streams = [tracker.events() for _ in range(200)]
    for stream in streams:
        await anext(stream)
    live = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    await tracker.items("second")
    assert len({id(frame) for frame in await asyncio.gather(*live)}) == 1
    for stream in streams:
        await stream.aclose()


async def test_another_trackers_commit_is_found_by_a_look(
    store: MemoryStore, clock: ManualClock, tracker: Tracker
) -> None:
    """Overlapping trackers: watchers here see what was committed there, in order with the commits here."""
    other = Tracker(store, clock)
    await tracker.items("a")
    stream = tracker.events()
    assert numbers(await anext(stream)) == [1]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    other._sequence = 10
    await other.items("b", "c")
    tracker.hub.feeds["t", "j"].committed_at = float("-inf")
    await tracker.hub.look()
    assert numbers(await waiting) == [2, 3]
    tracker._sequence = 20
    await tracker.items("d")
    assert numbers(await anext(stream)) == [4]
    await stream.aclose()


async def test_a_token_from_another_tracker_is_looked_up_before_it_is_refused(
    store: MemoryStore, clock: ManualClock, tracker: Tracker
) -> None:
    """A number this tracker has not heard of yet may be durable all the same."""
    await tracker.items("a")
    keeps_feed = tracker.events()
    await anext(keeps_feed)
    other = Tracker(store, clock)
    other._sequence = 10
    await other.items("b")
    elsewhere = other.events()
    token = parsed(await anext(elsewhere)).resume_token
    await elsewhere.aclose()
    here = tracker.events(token)
    waiting = asyncio.ensure_future(anext(here))
    await asyncio.sleep(0.05)
    await other.items("c")
    tracker.hub.feeds["t", "j"].committed_at = float("-inf")
    await tracker.hub.look()
    assert numbers(await waiting) == [3]
    await here.aclose()
    await keeps_feed.aclose()


async def test_a_token_of_the_future_is_refused(tracker: Tracker) -> None:
    """A token for an event nobody has seen is not answered with old events."""
    await tracker.items("a")
    progress = await tracker.repository.progress("t", "j")
    assert progress is not None
    token = TOKENS.make("t", "j", log_id=progress.log_id, sequence=2)
    assert (await reason(tracker.events(token))).reason == "INVALID_RESUME_TOKEN"


async def test_expired_events_are_out_of_range_with_the_oldest_number(
    tracker: Tracker, clock: ManualClock
) -> None:
    """Trimmed, not skipped: the error says where to begin."""
    await tracker.items(*(f"a{each}" for each in range(50)))
    clock.advance(20 * 3600)
    await tracker.items("b")
    clock.advance(5 * 3600)
    await tracker.items("c")
    error = await reason(tracker.events())
    assert (error.reason, error.metadata["oldest_sequence"]) == ("EVENTS_TRIMMED", "51")
    progress = await tracker.repository.progress("t", "j")
    assert progress is not None
    stream = tracker.events(TOKENS.make("t", "j", log_id=progress.log_id, sequence=50))
    assert numbers(await anext(stream)) == [51, 52]
    await stream.aclose()


async def test_a_job_begun_anew_does_not_take_the_old_tokens(tracker: Tracker, clock: ManualClock) -> None:
    """After retention a job id may have another history; a token of the first fits only the first."""
    await tracker.items("a", "b")
    stream = tracker.events()
    token = parsed(await anext(stream)).resume_token
    await stream.aclose()
    clock.advance(25 * 3600)
    tracker.ledger._lanes.clear()
    await tracker.items("a", "b", "c")
    assert (await reason(tracker.events(token))).reason == "INVALID_RESUME_TOKEN"


async def test_an_unknown_job_is_not_found_or_waited_for(tracker: Tracker) -> None:
    """NOT_FOUND by default; with wait_for_job the first event arrives when it happens."""
    assert (await reason(tracker.events())).reason == "JOB_NOT_FOUND"
    stream = tracker.events(wait=True)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await tracker.items("a")
    assert numbers(await waiting) == [1]
    await stream.aclose()


async def test_an_idle_frame_carries_the_token_of_the_place(tracker: Tracker) -> None:
    """A silent stream says where to continue."""
    await tracker.items("a")
    stream = tracker.events(idle_s=0.001)
    await anext(stream)
    idle = parsed(await anext(stream))
    await stream.aclose()
    assert list(idle.events) == []
    await tracker.items("b")
    resumed = tracker.events(idle.resume_token)
    assert numbers(await anext(resumed)) == [2]
    await resumed.aclose()


async def test_a_finished_job_with_missing_items_ends_after_a_grace(
    tracker: Tracker, clock: ManualClock
) -> None:
    """Late items still reach the watcher within the grace; then the stream ends all the same."""
    await tracker.job(JobState.CANCELLED, items=5)
    stream = tracker.events()
    assert numbers(await anext(stream)) == [1]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await tracker.items("late")
    assert numbers(await waiting) == [2]
    clock.advance(10)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_items_told_long_after_their_jobs_end_reach_the_watcher(
    tracker: Tracker, clock: ManualClock
) -> None:
    """A processor that could not tell while another one ended the job tells of its items yet."""
    await tracker.job(JobState.SUCCEEDED, items=1, ended=1)
    stream = tracker.events()
    assert numbers(await anext(stream)) == [1]
    clock.advance(20)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await tracker.items("late")
    assert numbers(await waiting) == [2]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_snapshots_are_conflated_and_end_with_the_final_one(tracker: Tracker) -> None:
    """Only the latest state is sent, the last frame is the final state, and then the stream ends."""
    await tracker.items("a")
    stream = tracker.watching.snapshots_of_job("t", "j", PACE)
    assert parsed(await anext(stream)).snapshots[0].last_sequence == 1
    for name in "bcdef":
        await tracker.items(name)
    await tracker.job(JobState.SUCCEEDED, items=6, ended=6)
    rest = [parsed(frame).snapshots[0] async for frame in stream]
    assert (rest[-1].last_sequence, rest[-1].state) == (7, pb.JOB_STATE_SUCCEEDED)
    assert len(rest) <= 2


async def test_a_filter_without_matches_answers_at_once_and_goes_on(tracker: Tracker) -> None:
    """An empty frame first, then the jobs that come to match."""
    stream = tracker.watching.snapshots_of_jobs("t", JobFilter(state=JobState.RUNNING), PACE)
    assert await anext(stream) == b""
    waiting = asyncio.ensure_future(anext(stream))
    await tracker.job(JobState.RUNNING, items=1)
    assert [each.job_id for each in parsed(await waiting).snapshots] == ["j"]
    await stream.aclose()
    assert tracker.hub.boards == {}


async def test_a_filter_sees_another_trackers_commit(
    store: MemoryStore, clock: ManualClock, tracker: Tracker
) -> None:
    """A look at what was written brings it, once."""
    stream = tracker.watching.snapshots_of_jobs("t", JobFilter(), PACE)
    await anext(stream)
    await Tracker(store, clock).job(JobState.RUNNING, items=1)
    await tracker.hub.look()
    assert [each.job_id for each in parsed(await anext(stream)).snapshots] == ["j"]
    waiting = asyncio.ensure_future(anext(stream))
    await tracker.hub.look()
    await asyncio.sleep(0.02)
    assert not waiting.done()
    waiting.cancel()


async def test_shutting_down_ends_every_watch(tracker: Tracker) -> None:
    """UNAVAILABLE, so that clients come back with their token."""
    await tracker.items("a")
    events, snapshots = tracker.events(), tracker.watching.snapshots_of_jobs("t", JobFilter(), PACE)
    await anext(events)
    await anext(snapshots)
    waiting = [asyncio.ensure_future(anext(events)), asyncio.ensure_future(anext(snapshots))]
    await asyncio.sleep(0.01)
    tracker.hub.close()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(end, "reason", None) for end in ends] == ["DRAINING", "DRAINING"]
