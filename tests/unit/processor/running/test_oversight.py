"""Jobs that run here are held to their terms: what this process does by itself, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from parallel_processor.jobs.item import ItemCounts, ItemState
from parallel_processor.jobs.job import Job, StateReason, running, started
from parallel_processor.jobs.life import paused
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Commit, claimed, committed
from parallel_processor.jobs.terms import Terms
from parallel_processor.running.exhaustion import Exhaustion
from parallel_processor.running.oversight import Oversight
from parallel_processor.spending.account import Account, Standing
from parallel_processor.spending.refusal import UsedUp
from service_common.clock import ManualClock
from service_common.errors import unavailable

from tests.unit.processor.samples import LEASE, job, outcome, shard

QUOTA = StateReason("MODEL_QUOTA_EXHAUSTED", "no money")


@dataclass
class World:
    """Everybody the oversight talks to, and what it said.

    Attributes:
        elsewhere: Failures in shards of other processes.
        is_away: Whether the store is.
    """

    elsewhere: int = 0
    is_away: bool = False
    said: list[str] = field(default_factory=list)
    reads: int = 0

    async def live(self, job: Job) -> tuple[Job, ItemCounts, Usage, int]:
        """Return a job with what other processes have done."""
        self.reads += 1
        return job, ItemCounts(failed=self.elsewhere), Usage(), 0

    async def pause_because(self, tenant: str, job_id: str, reason: StateReason, **_: object) -> None:
        """Note it."""
        self._say(f"pause {reason.reason}")

    async def give_up_on(self, tenant: str, job_id: str, *, failed: int) -> None:
        """Note it."""
        self._say(f"give up {failed}")

    async def expire(self, tenant: str, job_id: str) -> None:
        """Note it."""
        self._say("expire")

    async def take_stock(self, tenant: str, job_id: str) -> Standing:
        """Return a budget that bears no call of five."""
        return Standing((Account("job", 10, settled=6),), (4,))

    async def rest(self, job: Job, used_up: UsedUp) -> None:
        """Note it."""
        self._say(f"rest {used_up.worst}")

    def adopt(self, job: Job) -> None:
        """Note it."""
        self.said.append("adopt")

    def _say(self, words: str) -> None:
        if self.is_away:
            raise unavailable("STORE_UNAVAILABLE", "away")
        self.said.append(words)


class Run:
    """A run of a shard of which so many items have failed."""

    def __init__(self, of: Job, *, number: int = 0, failed: int = 0) -> None:
        held = claimed(shard(10, number=number), owner="w", now=CLOCK.now(), lease=LEASE)
        ends = {index: outcome(str(index), ItemState.FAILED) for index in range(failed)}
        self.shard = committed(held, Commit(held.epoch, 1, CLOCK.now() + LEASE, outcomes=ends))
        self.job = of
        self.journal = self
        self.is_given_up = False
        self.trouble: StateReason | None = None
        self.used_up: UsedUp | None = None

    def take_trouble(self) -> StateReason | None:
        """Return what is the matter, once."""
        trouble, self.trouble = self.trouble, None
        return trouble


CLOCK = ManualClock()


def begun(items: int = 100, **terms: Any) -> Job:
    """Return a job with these terms, whose first item was begun."""
    fresh = started(job(items), shard_count=10, now=CLOCK.now(), traceparent=None)
    return replace(running(fresh), terms=Terms(**terms))


def oversight(world: World, *runs: Run) -> Callable[[], Any]:
    """Return what looks at these runs once."""
    made = Oversight(
        lambda: cast("Any", runs),
        jobs=cast("Any", world),
        lifetime=cast("Any", world),
        exhaustion=Exhaustion(cast("Any", world), rest=world.rest, clock=CLOCK, for_s=0.0),
        adopt=world.adopt,
        clock=CLOCK,
        read_every_s=4.0,
    )
    return made.look


async def test_a_job_that_does_well_is_left_alone() -> None:
    """No word is said, and without a rule nothing is read."""
    world = World()
    await oversight(world, Run(begun(), failed=9), Run(begun(max_failed_ratio=0.5), number=1))()
    assert (world.said, world.reads) == ([], 0)


@pytest.mark.parametrize(("failed", "said"), [(5, []), (6, ["give up 6"])])
async def test_the_failures_of_all_runs_count(failed: int, said: list[str]) -> None:
    """Five of a hundred are tolerated, six are not, whichever shards they are in."""
    of, world = begun(max_failed_ratio=0.05), World()
    await oversight(world, Run(of, failed=3), Run(of, number=1, failed=failed - 3))()
    assert world.said == said


async def test_failures_elsewhere_are_read_now_and_then() -> None:
    """Once something has failed here, and not with every look."""
    of, world = begun(max_failed_ratio=0.05), World(elsewhere=6)
    look = oversight(world, Run(of, failed=1))
    await look()
    assert (world.said, world.reads) == (["give up 6"], 1)
    world.elsewhere = 1
    await look()
    assert world.reads == 1


async def test_what_is_settled_is_not_counted_twice() -> None:
    """A shard whose totals are the job's adds nothing more, though it still runs here."""
    of = begun(max_failed_ratio=0.05)
    settled = replace(of, settled=bytes([1, 0]), counts=ItemCounts(failed=4))
    world = World()
    await oversight(world, Run(settled, failed=4))()
    assert world.said == []


async def test_a_late_job_is_given_up_even_while_the_store_is_away() -> None:
    """The store is told first, but the calls are cut in any case."""
    of = begun(deadline=CLOCK.now() - timedelta(seconds=1))
    for is_away, said in ((False, ["expire", "adopt"]), (True, ["adopt"])):
        world = World(is_away=is_away)
        await oversight(world, Run(of))()
        assert world.said == said


async def test_a_run_in_trouble_pauses_its_job_once() -> None:
    """Whatever number of calls were refused, in however many runs: also when it is resumed at once."""
    world, runs = World(), [Run(begun()), Run(begun(), number=1)]
    for each in runs:
        each.trouble = QUOTA
    look = oversight(world, *runs)
    await look()
    await look()
    assert world.said == ["pause MODEL_QUOTA_EXHAUSTED"]


async def test_a_job_rests_that_has_used_up_its_budget() -> None:
    """Once, and not again while it does."""
    world, runs = World(), [Run(begun()), Run(begun(), number=1)]
    for each in runs:
        each.used_up = UsedUp(Account("job", 10, settled=6), 5)
    await oversight(world, *runs)()
    assert world.said == ["rest 5"]
    for each in runs:
        each.job = paused(each.job, QUOTA, CLOCK.now())
    await oversight(world, *runs)()
    assert world.said == ["rest 5"]
