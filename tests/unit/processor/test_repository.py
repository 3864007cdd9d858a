"""Jobs and shards in the store: starts that race, counts while shards settle, claims of leftovers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from parallel_processor.jobs.item import Item
from parallel_processor.jobs.job import Job, JobState, started
from parallel_processor.jobs.life import PAUSED_BY_REQUEST, arranged, paused, resumed, updated
from parallel_processor.jobs.records import shard_to_fields
from parallel_processor.jobs.shard import Commit, ItemSource, Shard, ShardPhase, new_shard
from parallel_processor.repository import SCHEMA, JobRepository, ShardRepository, schema
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage import MAX_WRITES, Document, DocumentStore, Key, Set, open_store

from tests.unit.processor.samples import LEASE, NOW, item, job, outcome


class Store:
    """The memory store; a test may do something right after a key was read."""

    def __init__(self, inner: DocumentStore) -> None:
        self.inner = inner
        self.after_read: dict[Key, AsyncIterator[None]] = {}

    async def get(self, key: Key) -> Document | None:
        """Read, then let the test interfere."""
        document = await self.inner.get(key)
        if (interfere := self.after_read.pop(key, None)) is not None:
            async for _ in interfere:
                pass
        return document

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """An empty store."""
    inner = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield Store(inner)
    await inner.close()


@pytest.fixture
def jobs(store: Store) -> JobRepository:
    """Jobs in the store."""
    return JobRepository(store)  # type: ignore[arg-type]  # it passes everything on


@pytest.fixture
def shards(store: Store) -> ShardRepository:
    """Shards in the store."""
    return ShardRepository(store)  # type: ignore[arg-type]  # it passes everything on


async def a_draft(jobs: JobRepository, items: int) -> Job:
    """Store a draft with its items in one chunk."""
    draft = job(0)
    await jobs.create(draft)
    chunk: list[Item] = [item(f"i{n}") for n in range(items)]
    return await jobs.add_items(draft, [chunk], {"faq": items})


def laid_out(draft: Job, count: int) -> list[Shard]:
    """Return shards of one item each."""
    return [
        new_shard(
            job_id=draft.job_id,
            tenant=draft.tenant,
            number=number,
            priority=draft.priority,
            sources=[ItemSource(0, (number,))],
            now=NOW,
        )
        for number in range(count)
    ]


async def start(jobs: JobRepository, draft: Job, count: int) -> Job:
    """Start a draft with so many shards."""
    return await jobs.start(
        draft,
        laid_out(draft, count),
        lambda each: started(each, shard_count=count, now=NOW, traceparent=None),
    )


async def test_a_late_second_start_leaves_live_shards_alone(
    jobs: JobRepository, shards: ShardRepository
) -> None:
    """A caller that still saw the draft cannot overwrite shards that are being worked on, however many."""
    count = 2 * MAX_WRITES
    draft = await a_draft(jobs, count)
    await start(jobs, draft, count)
    claim = await shards.claim(laid_out(draft, 1)[0], owner="w", now=NOW, lease=LEASE)
    again = await start(jobs, draft, count)
    assert again.state is JobState.RUNNING
    (first,) = await shards.read(again, [0])
    assert (first.epoch, first.owner, first.phase) == (claim.shard.epoch, "w", ShardPhase.BEGUN)


async def test_shards_of_a_draft_cannot_be_claimed(jobs: JobRepository, shards: ShardRepository) -> None:
    """A shard whose job is not started belongs to nobody."""
    draft = await a_draft(jobs, 3)
    (leftover,) = laid_out(draft, 1)
    with pytest.raises(ServiceError) as caught:
        await shards.claim(leftover, owner="w", now=NOW, lease=LEASE)
    assert caught.value.reason == "SHARD_NOT_CLAIMABLE"


async def test_shards_of_a_draft_make_way(store: Store, jobs: JobRepository, shards: ShardRepository) -> None:
    """What a start that died has left hides others no longer than a lease, and the repeat has it again."""
    draft = await a_draft(jobs, 3)
    (leftover,) = laid_out(draft, 1)
    await store.inner.commit([Set(schema.shard_key("acme", "job", 0), shard_to_fields(leftover))])
    with pytest.raises(ServiceError):
        await shards.claim(leftover, owner="w", now=NOW, lease=LEASE)
    assert (await shards.claimable(now=NOW, limit=8)).shards == []
    assert len((await shards.claimable(now=NOW + LEASE, limit=8)).shards) == 1
    await start(jobs, draft, 3)
    assert len((await shards.claimable(now=NOW, limit=8)).shards) == 3


async def finished(shards: ShardRepository, started_job: Job, number: int) -> Shard:
    """Claim a shard and finish its item."""
    (fresh,) = await shards.read(started_job, [number])
    claim = await shards.claim(fresh, owner="w", now=NOW, lease=LEASE)
    commit = Commit(
        epoch=claim.shard.epoch,
        number=1,
        lease_until=NOW + LEASE,
        outcomes={0: outcome(f"i{number}")},
        result_chunks=(f"r{number}",),
    )
    return await shards.commit(claim.shard, commit, {f"r{number}": commit.outcomes})


async def test_counts_never_dip_while_a_shard_settles(
    store: Store, jobs: JobRepository, shards: ShardRepository
) -> None:
    """Whenever a shard is settled between the reads of a count, its items are counted exactly once."""
    begun = await start(jobs, await a_draft(jobs, 2), 2)
    done = await finished(shards, begun, 0)

    async def settle_now() -> AsyncIterator[None]:
        await shards.settle(begun, [done], now=NOW, reported=frozenset())
        yield

    before = await jobs.get("acme", "job")
    store.after_read[schema.job_key("acme", "job")] = settle_now()
    now, live, usage, _ = await jobs.live(before)
    assert (now.counts + live).succeeded == 1
    assert (now.usage + usage).model_calls == 1
    now, live, usage, _ = await jobs.live(before)
    assert (now.counts + live).succeeded == 1
    assert (now.usage + usage).model_calls == 1


async def test_settling_is_harmless_to_repeat(jobs: JobRepository, shards: ShardRepository) -> None:
    """Two processes that settle the same shards count them once; the last one finishes the job."""
    begun = await start(jobs, await a_draft(jobs, 2), 2)
    done = [await finished(shards, begun, number) for number in range(2)]
    for part in ([done[0]], [done[0]], done, done):
        after = await shards.settle(begun, part, now=NOW, reported=frozenset())
    assert (after.state, after.counts.succeeded, after.usage.model_calls) == (JobState.SUCCEEDED, 2, 2)


async def test_a_shard_is_claimed_by_one(jobs: JobRepository, shards: ShardRepository) -> None:
    """Of two that saw it free one gets it; after the lease has run out the next may, under a new epoch."""
    begun = await start(jobs, await a_draft(jobs, 1), 1)
    (fresh,) = (await shards.claimable(now=NOW, limit=5)).shards
    await shards.claim(fresh, owner="one", now=NOW, lease=LEASE)
    with pytest.raises(ServiceError):
        await shards.claim(fresh, owner="two", now=NOW, lease=LEASE)
    look = await shards.claimable(now=NOW + timedelta(seconds=14), limit=5)
    assert (look.shards, look.next_expiry) == ([], NOW + LEASE)
    later = NOW + timedelta(seconds=15)
    (expired,) = (await shards.claimable(now=later, limit=5)).shards
    claim = await shards.claim(expired, owner="two", now=later, lease=LEASE)
    assert (claim.shard.owner, claim.shard.epoch, begun.job_id) == ("two", 2, claim.job.job_id)


async def test_a_renewed_lease_lasts_longer(jobs: JobRepository, shards: ShardRepository) -> None:
    """Nobody else claims it before the new end, and a lease that was taken over is not renewed."""
    begun = await start(jobs, await a_draft(jobs, 1), 1)
    (fresh,) = await shards.read(begun, [0])
    claim = await shards.claim(fresh, owner="w", now=NOW, lease=LEASE)
    await shards.renew(claim.shard, lease_until=NOW + 2 * LEASE)
    assert (await shards.claimable(now=NOW + LEASE, limit=5)).shards == []
    later = NOW + 2 * LEASE
    (expired,) = (await shards.claimable(now=later, limit=5)).shards
    await shards.claim(expired, owner="v", now=later, lease=LEASE)
    with pytest.raises(ServiceError) as caught:
        await shards.renew(claim.shard, lease_until=later + LEASE)
    assert caught.value.reason == "LEASE_LOST"


async def a_pause(jobs: JobRepository, of: Job) -> Job:
    """Pause a job in the store."""
    return await jobs.change(of.tenant, of.job_id, lambda each: paused(each, PAUSED_BY_REQUEST, NOW))


async def test_a_shard_of_a_paused_job_is_parked_by_who_would_claim_it(
    jobs: JobRepository, shards: ShardRepository
) -> None:
    """It is refused, and no look finds it again until the job is resumed and its shards arranged."""
    now = await start(jobs, await a_draft(jobs, 3), 3)
    paused_job = await a_pause(jobs, now)
    with pytest.raises(ServiceError) as caught:
        await shards.claim(laid_out(now, 1)[0], owner="w", now=NOW, lease=LEASE)
    assert caught.value.reason == "SHARD_NOT_CLAIMABLE"
    assert [each.number for each in (await shards.claimable(now=NOW, limit=8)).shards] == [1, 2]
    resumed_job = await jobs.change("acme", "job", lambda each: resumed(each, NOW))
    await shards.arrange(resumed_job, await shards.read(paused_job, [0, 1, 2]), now=NOW)
    assert len((await shards.claimable(now=NOW, limit=8)).shards) == 3


async def test_a_pause_that_was_taken_back_parks_nothing(
    jobs: JobRepository, shards: ShardRepository
) -> None:
    """Who still believes in the pause reads the job with the shards, and leaves them in line."""
    now = await start(jobs, await a_draft(jobs, 3), 3)
    believed = await a_pause(jobs, now)
    await jobs.change("acme", "job", lambda each: resumed(each, NOW))
    await shards.arrange(believed, await shards.read(believed, [0, 1, 2]), now=NOW)
    assert len((await shards.claimable(now=NOW, limit=8)).shards) == 3


async def test_a_shard_handed_back_to_a_paused_job_is_parked(
    jobs: JobRepository, shards: ShardRepository
) -> None:
    """In one transaction, so that nobody claims it in between."""
    now = await start(jobs, await a_draft(jobs, 1), 1)
    claim = await shards.claim(laid_out(now, 1)[0], owner="w", now=NOW, lease=LEASE)
    await a_pause(jobs, now)
    await shards.hand_back(claim.shard, now=NOW)
    (back,) = await shards.read(now, [0])
    assert (back.parked, back.owner) == (True, "")


async def test_jobs_are_due_when_somebody_must_look_after_them(jobs: JobRepository) -> None:
    """Paused ones until their shards are arranged, those with a deadline when it has passed, others never."""
    now = await start(jobs, await a_draft(jobs, 1), 1)
    assert [each async for each in jobs.due(NOW + 9 * LEASE)] == []
    later = {"deadline": NOW + LEASE}
    await jobs.change("acme", "job", lambda each: updated(each, {}, later, NOW))
    assert [each async for each in jobs.due(NOW)] == []
    assert [each.job_id async for each in jobs.due(NOW + LEASE)] == ["job"]
    halted = await a_pause(jobs, now)
    assert [each.job_id async for each in jobs.due(NOW)] == ["job"]
    await jobs.change("acme", "job", lambda each: arranged(each, halted.revision))
    assert [each async for each in jobs.due(NOW)] == []
