"""What a crash left half done is completed by whoever looks next; nothing is looked after before its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from parallel_processor.jobs.job import Job, JobState, StateReason, started
from parallel_processor.jobs.life import PAUSED_BY_REQUEST, cancelled, deleted, paused, resumed, updated
from parallel_processor.jobs.shard import ItemSource, Shard, new_shard
from parallel_processor.repository import SCHEMA, JobRepository, ShardRepository, schema
from parallel_processor.running.caretaking import Caretaker
from service_common.clock import ManualClock
from service_common.storage import DocumentStore, open_store

from tests.unit.processor.samples import item, job

SHARDS = 230
QUOTA = StateReason("MODEL_QUOTA_EXHAUSTED", "no money")


class Bench:
    """A started job in a store, and a caretaker that notes what it does.

    Attributes:
        changes: States of jobs that were changed here.
        taken: Shards it had ended.
    """

    def __init__(self, store: DocumentStore, clock: ManualClock, *, retention: timedelta | None) -> None:
        self.store, self.clock = store, clock
        self.jobs, self.shards = JobRepository(store), ShardRepository(store)
        self.changes: list[JobState] = []
        self.taken: list[int] = []
        self.caretaker = Caretaker(
            jobs=self.jobs,
            shards=self.shards,
            clock=clock,
            retention=retention,
            take=self.take,
            on_change=lambda each: self.changes.append(each.state),
        )

    async def take(self, part: Shard) -> None:
        """Note the shard."""
        self.taken.append(part.number)

    async def begin(self) -> None:
        """Store a job and start it."""
        draft = job(0, create_time=self.clock.now())
        await self.jobs.create(draft)
        draft = await self.jobs.add_items(draft, [[item(f"i{each}") for each in range(3)]], {"faq": 3})
        now = self.clock.now()
        parts = [
            new_shard(
                job_id="job",
                tenant="acme",
                number=number,
                priority=draft.priority,
                sources=[ItemSource(0, (0,))],
                now=now,
            )
            for number in range(SHARDS)
        ]
        await self.jobs.start(
            draft, parts, lambda each: started(each, shard_count=SHARDS, now=now, traceparent=None)
        )

    async def change(self, transition: Callable[[Job], Job]) -> Job:
        """Change the job in the store, as a process does that dies right after."""
        return await self.jobs.change("acme", "job", transition)

    async def job(self) -> Job:
        """Return the job as it is."""
        return await self.jobs.get("acme", "job")

    async def claimable(self) -> int:
        """Return how many shards can be claimed."""
        return len((await self.shards.claimable(now=self.clock.now(), limit=500)).shards)


@pytest.fixture
async def clock() -> ManualClock:
    """Moved by hand."""
    return ManualClock()


@pytest.fixture
async def bench(clock: ManualClock, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A job of many shards that was just started."""
    store: Any = await open_store("memory://", schema=SCHEMA, clock=clock)
    made = Bench(store, clock, retention=getattr(request, "param", None))
    await made.begin()
    yield made
    await store.close()


async def test_a_job_that_needs_nothing_is_left_alone(bench: Bench) -> None:
    """No look changes it."""
    before = await bench.job()
    await bench.caretaker.look()
    assert (await bench.job(), bench.changes, await bench.claimable()) == (before, [], SHARDS)


async def test_pauses_and_resumptions_are_completed(bench: Bench) -> None:
    """All shards are parked, then all are free again; after that the job is due no more."""
    now = bench.clock.now()
    await bench.change(lambda each: paused(each, PAUSED_BY_REQUEST, now))
    await bench.caretaker.look()
    assert await bench.claimable() == 0
    await bench.change(lambda each: resumed(each, now))
    await bench.caretaker.look()
    assert await bench.claimable() == SHARDS
    assert [each async for each in bench.jobs.due(now)] == []


async def test_a_job_that_rested_tries_again_in_time(bench: Bench) -> None:
    """Five minutes later, and not before; a job that its owner paused never does."""
    now = bench.clock.now()
    await bench.change(lambda each: paused(each, QUOTA, now, probe_after=timedelta(minutes=5)))
    bench.clock.advance(299)
    await bench.caretaker.look()
    assert bench.changes == []
    bench.clock.advance(1)
    await bench.caretaker.look()
    assert (bench.changes, (await bench.job()).state_reason) == ([JobState.QUEUED], None)
    assert await bench.claimable() == SHARDS
    await bench.change(lambda each: paused(each, PAUSED_BY_REQUEST, now))
    bench.clock.advance(86_400)
    await bench.caretaker.look()
    assert (await bench.job()).state is JobState.PAUSED


async def test_a_job_that_nobody_works_on_is_late_all_the_same(bench: Bench) -> None:
    """At its deadline it is given up, and its shards are ended, room or not, until it is over."""
    deadline = bench.clock.now() + timedelta(minutes=1)
    await bench.change(lambda each: updated(each, {}, {"deadline": deadline}, bench.clock.now()))
    await bench.change(lambda each: paused(each, PAUSED_BY_REQUEST, bench.clock.now()))
    bench.clock.advance(60)
    await bench.caretaker.look()
    assert (await bench.job()).state_reason == StateReason(
        "DEADLINE_EXCEEDED", "the job's deadline has passed"
    )
    assert sorted(bench.taken) == [*range(SHARDS)]
    bench.taken.clear()
    await bench.caretaker.look()
    assert len(bench.taken) == SHARDS, "they were not ended: whoever had them may have died"


async def test_a_cancelled_job_is_ended(bench: Bench) -> None:
    """Its waiting shards need not wait for room."""
    await bench.change(lambda each: cancelled(each, bench.clock.now()))
    await bench.caretaker.look()
    assert len(bench.taken) == SHARDS


async def test_a_deleted_job_leaves_no_document(bench: Bench) -> None:
    """Items, shards and the job are gone; it is invisible from the beginning."""
    job_now = await bench.job()
    await bench.change(lambda each: deleted(_over(each)))
    assert (await bench.jobs.list_page("acme", None, limit=10, cursor=None))[0] == []
    await bench.caretaker.look()
    keys = [schema.job_key("acme", "job"), schema.item_chunk_key("acme", "job", 0)]
    keys += [schema.shard_key("acme", "job", number) for number in range(SHARDS)]
    assert await bench.store.get_many(keys) == [None] * len(keys)
    assert job_now.shard_count == SHARDS


@pytest.mark.parametrize("bench", [timedelta(days=7)], indirect=True)
async def test_finished_jobs_are_kept_for_their_time(bench: Bench) -> None:
    """A week, and not a moment longer; one that is under way is kept however old it is."""
    bench.clock.advance(8 * 86_400)
    await bench.caretaker.look()
    await bench.job()
    now = bench.clock.now()
    await bench.change(lambda each: _over(each, now))
    bench.clock.advance(7 * 86_400 - 1)
    await bench.caretaker.look()
    await bench.job()
    bench.clock.advance(1)
    await bench.caretaker.look()
    assert await bench.store.get(schema.job_key("acme", "job")) is None


def _over(each: Job, now: datetime | None = None) -> Job:
    return replace(each, state=JobState.SUCCEEDED, finish_time=now or each.create_time)
