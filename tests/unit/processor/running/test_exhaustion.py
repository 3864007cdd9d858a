"""A job rests when its budget bears nothing of it any more: not before, and not because of one dear item."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from parallel_processor.jobs.job import Job
from parallel_processor.running.exhaustion import Exhaustion
from parallel_processor.spending.account import Account, Standing
from parallel_processor.spending.refusal import UsedUp
from service_common.clock import ManualClock

from tests.unit.processor.samples import job

CAP, SPENT = 100, 60
JOB = job(9)


@dataclass
class Run:
    """A run all of whose calls in hand are refused, the cheapest at this price; None: something goes on."""

    worst: int | None

    @property
    def used_up(self) -> UsedUp | None:
        """What it has used up."""
        return None if self.worst is None else UsedUp(Account("job", CAP, SPENT), self.worst)


@dataclass
class World:
    """A budget, and the jobs that were made to rest.

    Attributes:
        account: The budget, with what is set aside for calls that are out.
        rested: The calls for want of which they rest.
        looks: How often stock was taken.
    """

    account: Account = field(default_factory=lambda: Account("job", CAP, SPENT))
    rested: list[int] = field(default_factory=list)
    looks: int = 0

    async def take_stock(self, tenant: str, job_id: str) -> Standing:
        """Return where the budget stands."""
        self.looks += 1
        return Standing((self.account,), (self.account.left,))

    async def rest(self, of: Job, used_up: UsedUp) -> None:
        """Note it."""
        self.rested.append(used_up.worst)


class Bench:
    """Looks four times a second."""

    def __init__(self) -> None:
        self.clock, self.world = ManualClock(), World()
        self.exhaustion = Exhaustion(self.world, rest=self.world.rest, clock=self.clock)

    async def look(self, *runs: Run, seconds: float = 1.0) -> list[int]:
        """Look for so long; returns for want of which calls the job was made to rest."""
        self.world.rested.clear()
        for _ in range(int(seconds * 4)):
            await self.exhaustion.look_at(JOB, runs)
            self.clock.advance(0.25)
        await self.exhaustion.look_at(JOB, runs)
        return self.world.rested


@pytest.fixture
def bench() -> Bench:
    """A budget of which some is left."""
    return Bench()


async def test_it_rests_for_want_of_its_cheapest_call(bench: Bench) -> None:
    """A moment after every run has nothing else."""
    assert await bench.look(Run(70), Run(41), seconds=0.75) == []
    assert await bench.look(Run(70), Run(41), seconds=0.25) == [41]


async def test_it_goes_on_while_a_run_does(bench: Bench) -> None:
    """Also if one only ever pauses for less than a moment; no stock is taken for that."""
    assert await bench.look(Run(70), Run(None), seconds=60) == []
    for _ in range(5):
        assert await bench.look(Run(70), Run(70), seconds=0.5) == []
        assert await bench.look(Run(70), Run(None), seconds=0.25) == []
    assert bench.world.looks == 0


async def test_it_goes_on_where_the_budget_bears_more_by_now(bench: Bench) -> None:
    """What its runs were told a while ago is not what counts."""
    bench.world.account = Account("job", CAP + 1, SPENT)
    assert await bench.look(Run(41), seconds=10) == []
    assert bench.world.looks == 10


async def test_calls_that_are_out_elsewhere_are_waited_for(bench: Bench) -> None:
    """As long as some come back: those of a dead worker never do, and nobody may take its shard."""
    for spent in range(SPENT, SPENT + 9):
        bench.world.account = Account("job", CAP, spent, granted=5)
        assert await bench.look(Run(41), seconds=25) == []
    assert set(await bench.look(Run(41), seconds=31)) == {41}


async def test_a_job_that_left_begins_anew(bench: Bench) -> None:
    """When it runs here again, its runs have their moment."""
    await bench.look(Run(41), seconds=0.75)
    bench.exhaustion.keep(set())
    assert await bench.look(Run(41), seconds=0.75) == []
