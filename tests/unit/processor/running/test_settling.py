"""Settling: finished shards become part of their jobs, those of the dead too; the tracker is told again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.repository import SCHEMA, JobRepository, ShardRepository
from parallel_processor.running import settling as module
from parallel_processor.running.reporting import JOB_PRODUCER, Reporter
from parallel_processor.running.settling import Settling
from service_common.clock import ManualClock
from service_common.storage import open_store

from tests.unit.processor.running.fakes import settle, until
from tests.unit.processor.running.test_reporting import Tracker
from tests.unit.processor.samples import NOW, job
from tests.unit.processor.test_repository import a_draft, finished, start


class Room:
    """Settling over an empty store, with a reporter whose tracker listens."""

    def __init__(self, jobs: JobRepository, shards: ShardRepository) -> None:
        self.jobs, self.shards, self.clock = jobs, shards, ManualClock()
        self.tracker = Tracker()
        self.reporter = Reporter(self.tracker, rng=random.Random(1))
        self.changed: list[Job] = []
        self.settling = Settling(
            jobs=jobs,
            shards=shards,
            reporter=self.reporter,
            clock=self.clock,
            interval_s=1.0,
            on_change=self.changed.append,
        )


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """A room with everything at work."""
    store = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    room = Room(JobRepository(store), ShardRepository(store))
    tasks = [asyncio.create_task(work) for work in (room.reporter.run(), room.settling.run())]
    await settle()
    yield room
    for each in tasks:
        each.cancel()
    await store.close()


async def test_the_last_shard_finishes_the_job(room: Room) -> None:
    """When all shards are settled the job is finished, and whoever watches it is told."""
    begun = await start(room.jobs, await a_draft(room.jobs, 2), 2)
    for number in range(2):
        room.settling.finished(await finished(room.shards, begun, number))
    await until(lambda: bool(room.changed))
    assert (await room.jobs.get("acme", "job")).state is JobState.SUCCEEDED
    await until(lambda: room.reporter.is_acknowledged("job", JOB_PRODUCER, room.changed[0].revision))


async def test_the_last_shard_does_not_wait_for_its_turn(room: Room) -> None:
    """Totals are written once an interval, but those that finish the job at once, with no time going by."""
    begun = await start(room.jobs, await a_draft(room.jobs, 3), 3)
    room.settling.finished(await finished(room.shards, begun, 0))
    await until(lambda: not room.settling._waiting)
    room.settling.finished(await finished(room.shards, begun, 1))
    await settle()
    assert room.settling._waiting
    room.settling.finished(await finished(room.shards, begun, 2))
    await until(lambda: bool(room.changed))
    assert (await room.jobs.get("acme", "job")).state is JobState.SUCCEEDED


async def test_what_a_dead_worker_left_is_settled_under_load_too(room: Room) -> None:
    """A finished shard that nobody announced is found after a while, though other work keeps coming."""
    begun = await start(room.jobs, await a_draft(room.jobs, 2), 2)
    for number in range(2):
        await finished(room.shards, begun, number)
    room.clock.advance(6.0)
    room.settling.finished((await room.shards.read(begun, [0]))[0])
    await until(lambda: not room.settling._waiting)
    room.clock.advance(2.0)
    room.settling._wake.set()
    await until(lambda: bool(room.changed))
    assert (await room.jobs.get("acme", "job")).state is JobState.SUCCEEDED


async def test_the_tracker_is_told_of_more_jobs_than_one_look_shows(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts that the tracker knows of do not stand in the way of jobs that it does not know of."""
    monkeypatch.setattr(module, "_SHARDS_AT_ONCE", 2)
    drafts = [job(0, job_id=f"job{n}", create_time=NOW) for n in range(6)]
    for each in drafts:
        await room.jobs.create(each)
    for _ in range(12):
        await room.settling._catch_up_jobs()
        await room.reporter.flushed()
    known = {report.job_id for batch in room.tracker.batches for report in batch}
    assert known == {each.job_id for each in drafts}
