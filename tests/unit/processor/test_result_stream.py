"""A stream of results brings each once, in whatever order the shards of a job come to their ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.item import ItemState
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.records import job_to_fields, shard_to_fields
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import SCHEMA, JobRepository, ShardRepository, schema
from parallel_processor.repository.content_versions import result_chunk_to_fields
from parallel_processor.results import CommitSignal, Looks, Results
from service_common.clock import ManualClock
from service_common.storage import DocumentStore, Set, open_store

from tests.unit.processor.samples import NOW, job, outcome, shard

SHARDS = 70
"""More than a stream looks at together."""


def the_job(*, over: bool) -> Job:
    """Return a job of shards of one item each."""
    state = JobState.SUCCEEDED if over else JobState.RUNNING
    return job(SHARDS, state=state, shard_count=SHARDS, start_time=NOW, finish_time=NOW if over else None)


def begun(number: int) -> Shard:
    """Return a shard that someone works on."""
    return replace(shard(1, number=number), phase=ShardPhase.BEGUN, epoch=1)


async def end(store: DocumentStore, number: int) -> None:
    """Commit a shard's only result."""
    ended = replace(
        begun(number),
        states=bytes([ItemState.SUCCEEDED]),
        result_chunks=(f"r{number}",),
        phase=ShardPhase.SETTLED,
        claimable_at=None,
    )
    chunk = result_chunk_to_fields("job", {0: outcome(f"i{number}")})
    await store.commit(
        [
            Set(schema.result_chunk_key("acme", f"r{number}"), chunk),
            Set(schema.shard_key("acme", "job", number), shard_to_fields(ended)),
        ]
    )


async def a_stream(store: DocumentStore) -> AsyncIterator[str]:
    """Yield the ids of the items whose results come; empty when a stream begins."""
    clock = ManualClock()
    results = Results(
        JobRepository(store),
        ShardRepository(store),
        signal=CommitSignal(),
        looks=Looks(rest_s=0.0, poll_s=0.001),
        clock=clock,
    )
    async for outcomes, _ in results.stream("acme", "job", ""):
        for each in outcomes:
            yield each.item_id


async def came(late: set[int]) -> list[str]:
    """Return what came of a stream when some shards end only once all others have been read."""
    store = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    await store.commit([Set(schema.job_key("acme", "job"), job_to_fields(the_job(over=False)))])
    for number in range(SHARDS):
        await store.commit([Set(schema.shard_key("acme", "job", number), shard_to_fields(begun(number)))])
        if number not in late:
            await end(store, number)
    items: list[str] = []
    async for item_id in a_stream(store):
        items.append(item_id)
        if len(items) == SHARDS - len(late):
            for number in late:
                await end(store, number)
            await store.commit([Set(schema.job_key("acme", "job"), job_to_fields(the_job(over=True)))])
    await store.close()
    return items


@pytest.mark.parametrize("late", [{0}, {0, 30}, {25}, {69}])
async def test_shards_that_end_late_bring_nothing_twice(late: set[int]) -> None:
    """What was streamed of later shards is not streamed again when an earlier one ends."""
    items = await came(late)
    assert sorted(items) == sorted(f"i{number}" for number in range(SHARDS))


@given(late=st.sets(st.integers(0, SHARDS - 1), min_size=1, max_size=SHARDS - 1))
@settings(max_examples=25, deadline=None)
async def test_any_order_of_ends_brings_each_result_once(late: set[int]) -> None:
    """Whichever shards end last, each result comes once."""
    items = await came(late)
    assert sorted(items) == sorted(f"i{number}" for number in range(SHARDS))
