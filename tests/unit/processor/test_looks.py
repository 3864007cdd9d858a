"""A look for shards finds the most urgent, knows when leases end, and reads few of those that are leased."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.records import shard_to_fields
from parallel_processor.jobs.shard import Shard
from parallel_processor.repository import SCHEMA, ShardRepository, schema
from service_common.clock import ManualClock
from service_common.storage import Set, open_store
from service_common.storage.metering import MeteredStore, Operation

from tests.unit.processor.samples import NOW, shard

LIMIT = 8


@pytest.fixture
def reads() -> Counter[Operation]:
    """What the store was asked for."""
    return Counter()


@pytest.fixture
async def store(reads: Counter[Operation]) -> AsyncIterator[MeteredStore]:
    """An empty store that is counted."""

    def count(_: str, operation: Operation, number: int) -> None:
        reads[operation] += number

    inner = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield MeteredStore(inner, SCHEMA, count=count)
    await inner.close()


def a_shard(number: int, priority: Priority, free_in_s: float) -> Shard:
    """Return a shard that may be claimed from so many seconds from now on."""
    return replace(shard(), number=number, priority=priority, claimable_at=NOW + timedelta(seconds=free_in_s))


async def lay(store: MeteredStore, laid: list[Shard]) -> None:
    """Store shards."""
    await store.commit(
        [Set(schema.shard_key(each.tenant, each.job_id, each.number), shard_to_fields(each)) for each in laid]
    )


@pytest.mark.parametrize("seed", range(40))
async def test_a_look_misses_nothing(store: MeteredStore, seed: int) -> None:
    """Of any mixture it returns what sorting all of it would; when it found all, also when a lease ends."""
    rng = Random(seed)
    most = rng.choice([3, 12, 60])
    laid = [
        a_shard(number, rng.choice(list(Priority)), rng.choice([-1, 1]) * rng.randrange(1, 10_000))
        for number in range(rng.randrange(most))
    ]
    await lay(store, laid)
    look = await ShardRepository(store).claimable(now=NOW, limit=LIMIT)
    free = [each for each in laid if each.is_claimable(NOW)]
    free.sort(key=lambda each: (-each.priority, each.claimable_at))
    assert [each.claimable_at for each in look.shards] == [each.claimable_at for each in free[:LIMIT]]
    if len(look.shards) < LIMIT:
        leases = [each.claimable_at for each in laid if each.claimable_at and not each.is_claimable(NOW)]
        assert look.next_expiry == min(leases, default=None)


async def test_how_much_is_leased_does_not_cost_reads(store: MeteredStore, reads: Counter[Operation]) -> None:
    """Behind a hundred leased ones of higher urgency, the one that is free costs a page per urgency."""
    leased = [a_shard(number, Priority.HIGH, 1 + number / 10) for number in range(100)]
    leased += [a_shard(number, Priority.NORMAL, 1 + number / 10) for number in range(100, 200)]
    free = a_shard(200, Priority.LOW, -1)
    await lay(store, [*leased, free])
    look = await ShardRepository(store).claimable(now=NOW, limit=LIMIT)
    assert [each.number for each in look.shards] == [200]
    assert look.next_expiry == NOW + timedelta(seconds=1)
    assert reads[Operation.READ] <= 2 * LIMIT + 1


async def test_an_urgent_shard_is_found_behind_whatever_waits(store: MeteredStore) -> None:
    """It comes first, and only then what has waited longer."""
    await lay(store, [a_shard(number, Priority.NORMAL, -100) for number in range(50)])
    await lay(store, [a_shard(50, Priority.URGENT, 0)])
    look = await ShardRepository(store).claimable(now=NOW, limit=LIMIT)
    assert [each.number for each in look.shards][:1] == [50]
    assert len(look.shards) == LIMIT


async def test_an_idle_look_is_one_read(store: MeteredStore, reads: Counter[Operation]) -> None:
    """With nothing claimable and nothing leased, a look is billed as the least there is."""
    await ShardRepository(store).claimable(now=NOW, limit=LIMIT)
    assert reads[Operation.READ] == 1
