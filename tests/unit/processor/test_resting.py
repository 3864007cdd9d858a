"""Jobs rest for want of budget and go on: a budget that is raised meanwhile is never missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from parallel_processor.jobs.job import Job, JobState, running, started
from parallel_processor.jobs.life import PAUSED_BY_REQUEST, cancelled, paused, updated
from parallel_processor.jobs.terms import Terms
from parallel_processor.repository import SCHEMA, BudgetRepository, JobRepository
from parallel_processor.resting import Resting
from parallel_processor.spending.account import Account
from parallel_processor.spending.refusal import UsedUp
from parallel_processor.tenant_budgets import TenantBudgets
from service_common.clock import ManualClock
from service_common.storage import DocumentStore, open_store

from tests.unit.processor.samples import job

CAP = 100


class Bench:
    """A store with jobs.

    Attributes:
        changes: What became of jobs, as others are told.
    """

    def __init__(self, store: DocumentStore) -> None:
        clock = ManualClock()
        self.clock = clock
        self.jobs, self.budgets = JobRepository(store), BudgetRepository(store)
        self.changes: list[tuple[str, JobState]] = []
        self.resting = Resting(
            self.jobs,
            self.budgets,
            clock=clock,
            on_change=lambda each: self.changes.append((each.job_id, each.state)),
        )
        self.owners = TenantBudgets(self.budgets, clock=clock, on_set=self.resting.wake)

    async def begin(self, job_id: str = "job") -> Job:
        """Store a running job."""
        fresh = started(job(), shard_count=1, now=self.clock.now(), traceparent=None)
        begun = replace(running(fresh), job_id=job_id, terms=Terms(max_cost_micros=CAP))
        await self.jobs.create(begun)
        return begun

    async def state(self, job_id: str = "job") -> JobState:
        """Return a job's state."""
        return (await self.jobs.get("acme", job_id)).state


def used_up(name: str, cap: int = CAP) -> UsedUp:
    """Return a budget of this name that bears no call that may cost more than all of it."""
    return UsedUp(Account(name, cap, cap - 10), cap + 1)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An empty store."""
    store = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield Bench(store)
    await store.close()


async def test_a_job_rests_once_and_says_what_helps(bench: Bench) -> None:
    """Whoever else finds it used up changes nothing; it does not go on by itself."""
    begun = await bench.begin()
    for _ in range(2):
        await bench.resting.rest(begun, used_up("job"))
    after = await bench.jobs.get("acme", "job")
    assert bench.changes == [("job", JobState.PAUSED)]
    assert after.probe_at is None
    assert after.state_reason is not None
    assert after.state_reason.reason == "BUDGET_EXHAUSTED"
    assert "factory update job --max-cost" in after.state_reason.message


async def test_a_cap_that_was_raised_meanwhile_is_not_missed(bench: Bench) -> None:
    """The worker judged by the old one; the job runs on, though for the moment all of it is set aside."""
    begun = await bench.begin()
    now = bench.clock.now()
    await bench.jobs.change("acme", "job", lambda each: updated(each, {}, {"max_cost_micros": 900}, now))
    await bench.jobs.change("acme", "job", lambda each: replace(each, granted=900))
    await bench.resting.rest(begun, used_up("job"))
    assert await bench.state() is JobState.RUNNING


@pytest.mark.parametrize("start_over", [False, True])
async def test_a_budget_that_was_raised_meanwhile_is_not_missed(bench: Bench, *, start_over: bool) -> None:
    """Raised, or counted anew, before the job rests: it does not."""
    begun = await bench.begin()
    await bench.owners.set("acme", CAP, start_over=False)
    cap = CAP if start_over else CAP + 1
    await bench.owners.set("acme", cap, start_over=start_over)
    verdict = UsedUp(Account("tenant", CAP, CAP - 10), 20)
    await bench.resting.rest(begun, verdict)
    assert await bench.state() is JobState.RUNNING


async def test_a_raised_budget_wakes_what_rests_for_it_and_nothing_else(bench: Bench) -> None:
    """However many they are; not what rests for its own cap, by request, or is over."""
    await bench.owners.set("acme", 10, start_over=False)
    many = [f"tenants-{number}" for number in range(230)]
    for each in many:
        await bench.resting.rest(await bench.begin(each), used_up("tenant", 10))
        assert await bench.state(each) is JobState.PAUSED
    await bench.resting.rest(await bench.begin("own"), used_up("job"))
    now = bench.clock.now()
    for job_id, change in (
        ("asked", lambda each: paused(each, PAUSED_BY_REQUEST, now)),
        ("over", lambda each: cancelled(each, now)),
    ):
        await bench.begin(job_id)
        await bench.jobs.change("acme", job_id, change)
    bench.changes.clear()
    await bench.owners.set("acme", 1_000, start_over=False)
    assert sorted(bench.changes) == sorted((each, JobState.RUNNING) for each in many)


async def test_what_is_over_does_not_rest(bench: Bench) -> None:
    """A verdict that comes late says nothing."""
    begun = await bench.begin()
    await bench.jobs.change("acme", "job", lambda each: cancelled(each, bench.clock.now()))
    await bench.resting.rest(begun, used_up("job"))
    assert await bench.state() is JobState.CANCELLED
