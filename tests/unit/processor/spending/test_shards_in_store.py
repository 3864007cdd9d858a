"""Shards that spend at once from one cap, over a real store: no overshoot, no refusal while there is room."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from parallel_processor.jobs.item import ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.piece import PieceError, Usage
from parallel_processor.jobs.records import job_to_fields, shard_to_fields
from parallel_processor.jobs.shard import Commit, Shard, claimed
from parallel_processor.jobs.terms import Terms
from parallel_processor.repository import SCHEMA, BudgetRepository, JobRepository, ShardRepository, schema
from parallel_processor.running.journal import Allowance, Journal, Pace
from parallel_processor.spending.purse import Limit, ShardPurse
from parallel_processor.spending.refusal import BudgetRefusedError
from parallel_processor.tenant_budgets import TenantBudgets
from service_common.clock import ManualClock, SystemClock
from service_common.storage import DocumentStore, Page, Query, Set, open_store

from tests.unit.processor.samples import job, outcome, shard

WORST = 100
LEASE = timedelta(hours=1)
NOW = datetime.now(UTC)


@dataclass
class Endpoint:
    """Bills calls of up to their worst, and watches that no cap can be exceeded.

    Attributes:
        cap: The least of the caps.
        billed: What it has charged.
        out: The worst of calls that are under way.
        rng: Costs and durations.
    """

    cap: int
    billed: int = 0
    out: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    async def call(self) -> int:
        """Answer after a moment, and return what it cost."""
        self.out += WORST
        assert self.billed + self.out <= self.cap
        await asyncio.sleep(self.rng.random() / 200)
        cost = self.rng.randint(1, WORST // 2)
        self.out -= WORST
        self.billed += cost
        return cost


class Bench:
    """A store with one started job, and workers that run its shards."""

    def __init__(self, store: DocumentStore, endpoint: Endpoint) -> None:
        self.store = store
        self.endpoint = endpoint
        self.budgets = BudgetRepository(store)
        self.shards = ShardRepository(store)
        self.refused: list[str] = []
        self.limit = Limit()

    async def lay_out(self, shards: int, items: int, *, cap: int | None) -> list[Shard]:
        """Store a started job and return its shards, claimed."""
        started = replace(
            job(shards * items),
            state=JobState.RUNNING,
            shard_count=shards,
            settled=bytes(1),
            terms=Terms(max_cost_micros=cap),
        )
        held = [
            claimed(shard(items, number=number, now=NOW), owner="w", now=NOW, lease=LEASE)
            for number in range(shards)
        ]
        await self.store.commit(
            [
                Set(schema.job_key(started.tenant, started.job_id), job_to_fields(started)),
                *(
                    Set(schema.shard_key(each.tenant, each.job_id, each.number), shard_to_fields(each))
                    for each in held
                ),
            ]
        )
        return held

    def purse(self, limit: Limit | None) -> ShardPurse:
        """Return a shard's purse."""
        return ShardPurse(
            self.budgets,
            clock=SystemClock(),
            held=True,
            limit=limit,
            retry_s=0.01,
            on_refused=lambda account: self.refused.append(account.name),
        )

    def journal(self, of: Shard, *, ahead: int = 0, limit: Limit | None = None) -> Journal:
        """Return a journal of a claimed shard."""
        return Journal(
            of,
            self.shards,
            clock=SystemClock(),
            rng=random.Random(1),
            lease=LEASE,
            pace=Pace(0.002, Allowance(ahead)),
            purse=self.purse(limit),
            on_commit=lambda _shard, _outcomes: None,
        )

    async def run(self, of: Shard, *, ahead: int = 0) -> None:
        """Run a shard to its end: six items at a time."""
        journal = self.journal(of, ahead=ahead)
        slots = asyncio.Semaphore(6)
        states = of.states

        async def make(index: int) -> None:
            if ahead:
                journal.expect(index, WORST)
            journal.finish(index, await self.piece(journal, index, slots))

        unfinished = [index for index, state in enumerate(states) if state < ItemState.SUCCEEDED]
        async with asyncio.TaskGroup() as group:
            group.create_task(journal.run())
            for index in unfinished:
                group.create_task(make(index))

    async def piece(self, journal: Journal, index: int, slots: asyncio.Semaphore) -> Outcome:
        """Make one item, or find out that no budget bears it."""
        while True:
            async with slots:
                try:
                    await journal.announce(index, WORST)
                except BudgetRefusedError as refused:
                    if refused.used_up:
                        error = PieceError("BUDGET_EXHAUSTED", str(refused))
                        return replace(outcome(str(index), ItemState.FAILED), error=error)
                    delay_s = refused.retry_in_s
                else:
                    cost = await self.endpoint.call()
                    return replace(outcome(str(index)), usage=Usage(1, 1, 1, cost))
            await asyncio.sleep(delay_s)

    async def settle(self, of: list[Shard]) -> Job:
        """Settle finished shards, twice, and return the job."""
        before = await JobRepository(self.store).get("acme", "job")
        finished = await self.shards.read(before, [each.number for each in of])
        for _ in range(2):
            await self.shards.settle(before, finished, now=NOW, reported=frozenset())
        return await JobRepository(self.store).get("acme", "job")


@pytest.fixture
async def store() -> AsyncIterator[DocumentStore]:
    """An empty store."""
    opened = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield opened
    await opened.close()


@pytest.mark.parametrize("ahead", [0, 5])
async def test_shards_that_spend_at_once_never_exceed_the_cap(store: DocumentStore, ahead: int) -> None:
    """Four workers share a cap that is too small; each refusal comes when the rest bears no further call."""
    bench = Bench(store, Endpoint(cap=2_000))
    held = await bench.lay_out(4, 30, cap=2_000)
    await asyncio.gather(*(bench.run(each, ahead=ahead) for each in held))
    assert bench.refused
    assert 2_000 - WORST < bench.endpoint.billed <= 2_000
    after = await bench.settle(held)
    assert (after.usage.cost_micros, after.granted) == (bench.endpoint.billed, 0)


async def test_what_is_refused_for_good_is_not_written_again(store: DocumentStore) -> None:
    """A call as dear as one just refused is refused at once, in any shard; a cheaper one is tried."""
    bench = Bench(store, Endpoint(cap=2 * WORST))
    first, second = (
        bench.journal(each, limit=bench.limit) for each in await bench.lay_out(2, 9, cap=2 * WORST)
    )
    async with asyncio.TaskGroup() as group:
        for each in (first, second):
            group.create_task(each.run())
        with pytest.raises(BudgetRefusedError) as refused:
            await first.announce(0, 2 * WORST + 1)
        assert refused.value.used_up is not None
        commits = (first.shard.commits, second.shard.commits)
        for journal in (first, second):
            with pytest.raises(BudgetRefusedError):
                await journal.announce(1, 2 * WORST + 5)
        assert (first.shard.commits, second.shard.commits) == commits
        assert first.purse.all_refused([0, 1]) == refused.value.used_up
        await first.announce(0, WORST)
        assert first.purse.all_refused([0, 1]) is None
        for each in (first, second):
            each.close()
    assert bench.refused == ["job"] * 3


async def test_slices_cost_few_writes(store: DocumentStore) -> None:
    """A job whose cap is far away asks about once for each shard."""
    bench = Bench(store, Endpoint(cap=10**6))
    draws: list[int] = []
    committing = bench.shards.commit

    async def counting(shard: Shard, commit: Commit, results: Mapping[str, Mapping[int, Outcome]]) -> Shard:
        draws.extend([shard.number] * (commit.draw is not None))
        return await committing(shard, commit, results)

    bench.shards.commit = counting  # type: ignore[method-assign]  # the test's own repository
    held = await bench.lay_out(4, 30, cap=10**6)
    await asyncio.gather(*(bench.run(each) for each in held))
    assert not bench.refused
    assert sorted(draws) == [0, 1, 2, 3]


async def test_what_a_dead_worker_held_is_inherited_and_what_it_did_not_use_is_free(
    store: DocumentStore,
) -> None:
    """Its calls that were out stay reserved until the next epoch counts them; the rest goes to others."""
    bench = Bench(store, Endpoint(cap=600))
    dead, living = await bench.lay_out(2, 40, cap=600)
    journal = bench.journal(dead)
    running = asyncio.create_task(journal.run())
    await journal.announce(0, WORST)
    assert journal.shard.granted is not None
    running.cancel()
    bench.endpoint.billed = WORST  # for all anybody knows
    going_on = asyncio.create_task(bench.run(living))
    while bench.endpoint.billed + bench.endpoint.out <= 600 - WORST:  # noqa: ASYNC110 - the endpoint announces nothing
        await asyncio.sleep(0.001)
    found = (await bench.shards.read(await JobRepository(store).get("acme", "job"), [0]))[0]
    assert dict(found.intents) == {0: WORST}
    again = await bench.shards.claim(found, owner="x", now=NOW + 2 * LEASE, lease=LEASE)
    heir = bench.journal(again.shard)
    heir.account(0, Usage(uncertain_calls=1, uncertain_spend_micros=WORST))
    heir.close()
    await heir.run()
    assert (heir.shard.reserved, heir.shard.spent) == (0, WORST)
    await going_on
    assert bench.refused
    assert 600 - WORST < bench.endpoint.billed <= 600


async def test_a_tenants_budget_holds_over_all_its_shards(store: DocumentStore) -> None:
    """A job without a cap stops where its tenant's budget is used up, and the books say so."""
    bench = Bench(store, Endpoint(cap=1_500))
    owners = TenantBudgets(bench.budgets, clock=SystemClock())
    await owners.set("acme", 1_500, start_over=False)
    held = await bench.lay_out(3, 30, cap=None)
    await asyncio.gather(*(bench.run(each) for each in held))
    assert set(bench.refused) == {"tenant"}
    before = await owners.read("acme")
    await bench.settle(held)
    after = await owners.read("acme")
    assert before.spent == after.spent == bench.endpoint.billed > 1_500 - WORST
    assert after.reserved == 0
    fresh = await owners.set("acme", None, start_over=True)
    assert (fresh.cap, fresh.spent) == (None, 0)


async def test_a_shard_that_finishes_while_stock_is_taken_counts_once(store: DocumentStore) -> None:
    """Met as begun and again as finished, it is squeezed once and its spending counts once."""
    bench = Bench(store, Endpoint(cap=1_000))
    begun, other = await bench.lay_out(2, 1, cap=1_000)
    for each in (begun, other):
        journal = bench.journal(each)
        running = asyncio.create_task(journal.run())
        await journal.announce(0, WORST)
        if each is other:
            running.cancel()
        else:
            finish = journal, running

    class Racing:
        """The store, where the first shard finishes between the looks for begun and for finished shards."""

        looks = 0

        async def query(self, query: Query) -> Page:
            """Look, then let it finish."""
            page = await store.query(query)
            self.looks += 1
            if self.looks == 1:
                finish[0].finish(0, replace(outcome("0"), usage=Usage(1, 1, 1, 30)))
                await finish[1]
            return page

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

    standing = await BudgetRepository(Racing()).take_stock("acme", "job")  # type: ignore[arg-type]  # it passes on
    assert standing.left == (1_000 - 30 - WORST,)
    assert standing.accounts[0].settled == 30
    after = await JobRepository(store).get("acme", "job")
    assert after.granted == 30 + WORST
