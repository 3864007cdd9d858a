"""What is claimed next is fair over tenants and jobs, urgent first, and each look costs few reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from parallel_processor.jobs.job import Job, JobState, Priority
from parallel_processor.jobs.records import job_to_fields, shard_to_fields
from parallel_processor.jobs.shard import ShardPhase
from parallel_processor.jobs.terms import Terms
from parallel_processor.queueing.rank import AGING_S
from parallel_processor.repository import SCHEMA, JobRepository, ShardRepository, schema
from parallel_processor.running.backlog import Backlog
from parallel_processor.running.looking import Looking
from service_common.clock import ManualClock
from service_common.storage import Set, Write, open_store
from service_common.storage.metering import MeteredStore, Operation

from tests.unit.processor.samples import LEASE, job, shard

BATCH = 200


@dataclass
class World:
    """A store with jobs, and time.

    Attributes:
        reads: What the store was asked for.
    """

    store: MeteredStore
    clock: ManualClock
    reads: Counter[Operation]

    def looking(self, seed: int = 1) -> Looking:
        """Return what one worker looks with."""
        return Looking(
            JobRepository(self.store),
            ShardRepository(self.store),
            backlog=Backlog(),
            clock=self.clock,
            rng=Random(seed),
            lease=LEASE,
        )

    async def start(self, job_id: str, shards: int, *, tenant: str = "acme", **terms: object) -> Job:
        """Store a started job with so many shards."""
        self.clock.advance(0.001)
        now = self.clock.now()
        fields: dict[str, Any] = {"priority": Priority.NORMAL, "state": JobState.QUEUED, **terms}
        started = job(
            job_id=job_id, tenant=tenant, start_time=now, stir_time=now, shard_count=shards, **fields
        )
        laid = [
            replace(shard(now=now), job_id=job_id, tenant=tenant, number=number, priority=started.priority)
            for number in range(shards)
        ]
        writes: list[Write] = [
            Set(schema.shard_key(tenant, job_id, each.number), shard_to_fields(each)) for each in laid
        ]
        writes.append(Set(schema.job_key(tenant, job_id), job_to_fields(started)))
        for first in range(0, len(writes), BATCH):
            await self.store.commit(writes[first : first + BATCH])
        return started

    async def claim(self, looking: Looking, number: int) -> list[str]:
        """Claim so many shards, as if there were room for each; returns their jobs."""
        jobs: list[str] = []
        while len(jobs) < number:
            found = await looking.next(lambda _: True)
            if found is None:
                break
            claim = await ShardRepository(self.store).claim(
                found.shard, owner="w", now=self.clock.now(), lease=LEASE
            )
            assert found.source is not None
            looking.backlog.claimed(found.source, 100, self.clock.now().timestamp())
            jobs.append(claim.job.job_id)
        return jobs


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An empty world."""
    clock, reads = ManualClock(), Counter[Operation]()

    def count(_: str, operation: Operation, number: int) -> None:
        reads[operation] += number

    inner = await open_store("memory://", schema=SCHEMA, clock=clock)
    yield World(MeteredStore(inner, SCHEMA, count=count), clock, reads)
    await inner.close()


async def test_a_hundred_times_the_backlog_is_claimed_no_more_often(world: World) -> None:
    """Of two tenants with a backlog each has every other claim, whoever came first and whoever has more."""
    await world.start("many", 200, tenant="many")
    await world.start("few", 2, tenant="few")
    looking = world.looking()
    await looking.hear()
    assert Counter(await world.claim(looking, 4)) == {"many": 2, "few": 2}


async def test_a_tenant_gets_no_more_for_having_many_jobs(world: World) -> None:
    """Ten jobs of one tenant take turns within its share."""
    for number in range(10):
        await world.start(f"one-of-{number}", 3, tenant="many")
    await world.start("alone", 20, tenant="few")
    looking = world.looking()
    await looking.hear()
    claimed = Counter(await world.claim(looking, 20))
    assert claimed["alone"] == 10
    assert all(claimed[f"one-of-{number}"] == 1 for number in range(10))


async def test_workers_that_know_nothing_of_each_other_are_fair_together(world: World) -> None:
    """Three of them claim from one store: what each claims is fair, and no shard is claimed twice."""
    await world.start("many", 200, tenant="many")
    await world.start("few", 12, tenant="few")
    workers = [world.looking(seed) for seed in range(3)]
    claimed: Counter[str] = Counter()
    for each in workers:
        await each.hear()
    for _ in range(8):
        for each in workers:
            each.backlog._sources["few"].ready.clear()  # what it saw may be gone: the others claim too
            each.backlog._sources["many"].ready.clear()
            claimed.update(await world.claim(each, 1))
    assert claimed == {"many": 12, "few": 12}


async def test_priority_and_weight_order_a_tenants_jobs(world: World) -> None:
    """HIGH before NORMAL; of two jobs of one priority the heavier has more claims, by their weights."""
    await world.start("light", 30, terms=Terms(weight=100))
    await world.start("heavy", 30, terms=Terms(weight=300))
    await world.start("high", 2, priority=Priority.HIGH)
    looking = world.looking()
    await looking.hear()
    assert await world.claim(looking, 2) == ["high", "high"]
    claimed = Counter(await world.claim(looking, 16))
    assert claimed == {"light": 4, "heavy": 12}


async def test_low_is_claimed_after_a_while_whatever_else_there_is(world: World) -> None:
    """After twice AGING_S a LOW job is claimed from as one of HIGH is."""
    await world.start("low", 5, priority=Priority.LOW)
    await world.start("high", 50, priority=Priority.HIGH)
    looking = world.looking()
    await looking.hear()
    assert set(await world.claim(looking, 10)) == {"high"}
    world.clock.advance(2 * AGING_S + 1)
    await looking.hear()
    assert "low" in await world.claim(looking, 2)


async def test_an_urgent_job_behind_a_thousand_is_found_with_a_few_reads(world: World) -> None:
    """The listing begins with what was started last: one that comes costs no reading of those before it."""
    for number in range(1_000):
        await world.start(f"job-{number}", 1, tenant=f"tenant-{number % 7}")
    looking = world.looking()
    await looking.hear()
    world.clock.advance(60)
    looking.polled()
    await looking.hear()
    await world.start("now", 1, tenant="tenant-3", priority=Priority.URGENT)
    before = world.reads[Operation.READ]
    looking.rung()
    await looking.hear()
    assert await world.claim(looking, 1) == ["now"]
    assert world.reads[Operation.READ] - before <= 8 + 1 + 3  # a page of jobs, its shard, and the claim


async def test_a_burst_of_starts_is_not_read_over_and_over(world: World) -> None:
    """While nothing comes, a look reads three pages of a burst that was just heard of, not all of it."""
    for number in range(200):
        await world.start(f"job-{number}", 1)
    looking = world.looking()
    await looking.hear()
    before = world.reads[Operation.READ]
    await looking.hear()
    assert world.reads[Operation.READ] - before <= 3 * 8


async def test_a_claim_costs_few_reads_however_many_wait(world: World) -> None:
    """With a thousand shards of ten tenants, a look for one and its claim read a handful of documents."""
    for number in range(10):
        await world.start(f"job-{number}", 100, tenant=f"tenant-{number}")
    looking = world.looking()
    await looking.hear()
    before = world.reads[Operation.READ]
    await world.claim(looking, 40)
    assert (world.reads[Operation.READ] - before) / 40 <= 1 + 2 + 1


async def test_a_changed_job_is_claimed_from_under_its_new_terms_and_no_shard_is_written(
    world: World,
) -> None:
    """To raise a job with a backlog is one write: its shards need not know."""
    await world.start("other", 50)
    raised = await world.start("raised", 50)
    looking = world.looking()
    await looking.hear()
    assert set(await world.claim(looking, 4)) == {"raised", "other"}
    world.clock.advance(10)
    raised = replace(raised, priority=Priority.HIGH, state=JobState.RUNNING, stir_time=world.clock.now())
    await world.store.commit([Set(schema.job_key("acme", "raised"), job_to_fields(raised))])
    looking.rung()
    await looking.hear()
    assert await world.claim(looking, 4) == ["raised"] * 4


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.DRAFT])
async def test_a_job_that_needs_no_workers_is_left_alone(world: World, state: JobState) -> None:
    """Whatever its shards say: its state decides."""
    await world.start("job", 3, state=state)
    looking = world.looking()
    await looking.hear()
    assert await looking.next(lambda _: True) is None


async def test_a_job_whose_shards_are_all_leased_is_asked_for_again_when_a_lease_may_have_ended(
    world: World,
) -> None:
    """Until then it costs no reads; a ring lets it be asked at once, since a shard may be handed back."""
    await world.start("job", 2)
    looking = world.looking()
    await looking.hear()
    assert len(await world.claim(looking, 3)) == 2
    before = world.reads[Operation.READ]
    for _ in range(10):
        assert await looking.next(lambda _: True) is None
    assert world.reads[Operation.READ] == before
    looking.rung()
    await looking.hear()
    assert await looking.next(lambda _: True) is None
    assert world.reads[Operation.READ] - before <= 1 + 2
    shards = ShardRepository(world.store)
    (held, _) = await shards.read(await JobRepository(world.store).get("acme", "job"), [0, 1])
    await shards.hand_back(held, now=world.clock.now())
    looking.rung()
    await looking.hear()
    assert await world.claim(looking, 2) == ["job"]
    world.clock.advance(LEASE.total_seconds() + 1)
    assert await world.claim(looking, 1) == ["job"]


async def test_a_job_with_nothing_left_to_claim_is_asked_once(world: World) -> None:
    """When all of its shards are finished, nobody reads them again until it is heard of again."""
    await world.start("job", 1)
    done = replace(shard(), job_id="job", tenant="acme", claimable_at=None, phase=ShardPhase.FINISHED)
    await world.store.commit([Set(schema.shard_key("acme", "job", 0), shard_to_fields(done))])
    looking = world.looking()
    await looking.hear()
    assert await looking.next(lambda _: True) is None
    assert not looking.backlog.waiting
    before = world.reads[Operation.READ]
    assert await looking.next(lambda _: True) is None
    assert world.reads[Operation.READ] == before


async def test_shards_of_a_job_that_is_not_listed_are_found_among_all(world: World) -> None:
    """A job that was started under an earlier release does not wait for ever."""
    old = await world.start("old", 1)
    fields = job_to_fields(old)
    del fields["open"], fields["stirred"]
    await world.store.commit([Set(schema.job_key("acme", "old"), fields)])
    looking = world.looking()
    await looking.hear()
    assert await looking.next(lambda _: True) is None
    assert [each.shard.job_id for each in await looking.over_all()] == ["old"]


async def test_jobs_stored_late_by_a_slow_clock_are_heard_of(world: World) -> None:
    """Another processor's clock may be behind: the few seconds before the last look are read again."""
    for number in range(10):
        await world.start(f"early-{number}", 1)
    looking = world.looking()
    await looking.hear()
    late = await world.start("late", 1)
    late = replace(late, stir_time=late.stir_time and late.stir_time - timedelta(seconds=3))
    await world.store.commit([Set(schema.job_key("acme", "late"), job_to_fields(late))])
    await looking.hear()
    assert "late" in await world.claim(looking, 11)


async def test_what_a_dead_worker_left_comes_before_what_nobody_has_begun(world: World) -> None:
    """Its results and its money are waited for: a long backlog is not claimed first."""
    started = await world.start("job", 300)
    dead = world.looking(seed=1)
    await dead.hear()
    assert len(await world.claim(dead, 5)) == 5
    shards = ShardRepository(world.store)
    left = {each.number for each in await shards.read(started, range(300)) if each.epoch}
    world.clock.advance(LEASE.total_seconds() + 1)
    alive = world.looking(seed=2)
    await alive.hear()
    assert len(await world.claim(alive, 5)) == 5
    assert {each.number for each in await shards.read(started, range(300)) if each.epoch == 2} == left


async def test_looking_back_costs_a_read_every_half_a_lease(world: World) -> None:
    """While no worker dies, a long backlog is claimed for hardly more reads than without looking back."""
    await world.start("job", 300)
    looking = world.looking()
    await looking.hear()
    before = world.reads[Operation.READ]
    assert len(await world.claim(looking, 40)) == 40
    assert (world.reads[Operation.READ] - before) <= 40 * (1 + 2) + 2
