"""When a processor looks for shards: at once while some may be left, else when it polls or hears the bell."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from parallel_processor.jobs.job import Job, JobState, Priority
from parallel_processor.jobs.shard import Shard
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.rank import Rank
from parallel_processor.repository import Claim, Look
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.journal import Pace
from service_common.clock import ManualClock
from service_common.errors import ServiceError, aborted, unavailable

from tests.unit.processor.running.fakes import settle, spending, until
from tests.unit.processor.samples import NOW, job, shard

NEVER_S = 3_600.0
OFTEN_S = 0.001
LEASE_S = 30.0
BUSY = job(job_id="other", state=JobState.RUNNING, start_time=NOW)


class Jobs:
    """Lists the same started jobs whenever it is asked, and counts how often it is."""

    def __init__(self) -> None:
        self.open: list[Job] = []
        self.heard = 0
        self.error: ServiceError | None = None

    async def open_page(self, *, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """Return the jobs."""
        self.heard += 1
        if self.error:
            raise self.error
        return self.open[:limit], None


class Shards:
    """Answers each look with the same shards, and counts the looks; a claim is lost to somebody else."""

    def __init__(self, found: list[Shard]) -> None:
        self.found = found
        self.jobs = Jobs()
        self.looks = 0
        self.claims = 0
        self.leased_for_s: float | None = None
        self.is_lost = True
        if found:
            self.jobs.open = [job(state=JobState.RUNNING, start_time=NOW, stir_time=NOW)]

    async def claimable(self, *, now: datetime, limit: int) -> Look:
        """Return what may be claimed of all jobs: nothing that is not known of its job."""
        self.looks += 1
        expiry = None if self.leased_for_s is None else now + timedelta(seconds=self.leased_for_s)
        return Look([], expiry)

    async def claimable_of(self, tenant: str, job_id: str, *, now: datetime, limit: int) -> Look:
        """Return what may be claimed of a job."""
        self.looks += 1
        return Look(self.found[:limit], None)

    async def left_behind_of(self, tenant: str, job_id: str, **_: object) -> list[Shard]:
        """Return what dead workers have left of a job: nothing."""
        return []

    async def claim(self, shard: Shard, **_: object) -> Claim:
        """Come too late, unless told otherwise."""
        self.claims += 1
        if self.is_lost:
            raise aborted("SHARD_NOT_CLAIMABLE", "too late")
        return Claim(self.jobs.open[0], shard)


class Slots:
    """Slots of which one is taken by each of so many callers, and as many wait."""

    limit = 4

    def __init__(self) -> None:
        self.queue = FairQueue()
        self.active = 0

    @property
    def waiting(self) -> int:
        """Callers that wait."""
        return self.queue.waiting

    def rerank(self, rank: Rank) -> None:
        """Put what waits where it stands now."""
        self.queue.change(rank, now=0.0)

    def fill(self) -> None:
        """Let a job take all slots and wait for as many more."""
        for _ in range(2 * self.limit):
            self.queue.join(Rank.of_job(BUSY), 1, now=0.0)
        for _ in range(self.limit):
            self.queue.next(now=0.0)
        self.active = self.limit


class Bell:
    """A bell that is heard, or not."""

    def __init__(self, *, is_heard: bool = False) -> None:
        self.is_heard = is_heard


def claims_of(
    shards: Shards,
    *,
    bell: Bell | None = None,
    poll_s: float = NEVER_S,
    clock: ManualClock | None = None,
) -> Claims:
    """Make claims over these shards, with nothing in hand, that never poll unless told to."""
    policy = ClaimPolicy("worker", timedelta(seconds=LEASE_S), poll_s=poll_s, pace=Pace(0.01))
    return Claims(
        policy,
        jobs=cast("Any", shards.jobs),
        shards=cast("Any", shards),
        workshop=cast("Any", None),
        slots=cast("Any", Slots()),
        reporter=cast("Any", None),
        settling=cast("Any", None),
        bell=cast("Any", bell or Bell()),
        clock=clock or ManualClock(),
        rng=random.Random(1),
        spending=spending(),
        on_outcomes=lambda _: None,
        on_committed=lambda _: None,
    )


def fill(claims: Claims, job_of_run: Job = BUSY) -> None:
    """Let a job of the same tenant keep all slots busy, and have something in hand of it."""
    slots = cast("Any", claims._slots)
    slots.fill()
    claims._runs["other/0"] = cast("Any", _Running(job_of_run))


class _Running:
    """A run."""

    unprepared = 0

    def __init__(self, of: Job) -> None:
        self.job = of

    async def adopt(self, to: Job) -> None:
        """Take it on."""
        self.job = to


@contextmanager
def running(claims: Claims) -> Iterator[None]:
    """Let the claims run meanwhile."""
    task = asyncio.create_task(claims.run())
    try:
        yield
    finally:
        task.cancel()


async def test_nothing_left_is_not_looked_for_again() -> None:
    """A commit or a finished shard causes no look when the last one found nothing; a started job does."""
    shards = Shards([])
    claims = claims_of(shards)
    with running(claims):
        await settle()
        claims._look_again()
        await settle()
        assert shards.looks == 1
        claims.wake()
        await settle()
        assert shards.looks == 2


async def test_a_job_that_was_changed_elsewhere_stands_elsewhere_with_the_next_look() -> None:
    """Its items that wait here and its shards alike; nobody waits for a lease to be renewed."""
    shards = Shards([])
    claims = claims_of(shards)
    fill(claims)
    shards.jobs.open = [replace(BUSY, priority=Priority.URGENT, stir_time=NOW + timedelta(seconds=1))]
    with running(claims):
        await settle()
    assert claims._runs["other/0"].job.priority is Priority.URGENT
    assert cast("Any", claims._slots).queue.waiting_by_priority() == {Priority.URGENT: 4}


async def test_what_was_left_for_want_of_room_is_claimed_as_soon_as_there_is_some() -> None:
    """As soon as there may be room, and not first at the next poll."""
    shards = Shards([shard()])
    claims = claims_of(shards)
    fill(claims, replace(BUSY, priority=Priority.HIGH))
    with running(claims):
        await settle()
        assert shards.claims == 0
        cast("Any", claims._slots).queue = FairQueue()
        claims._look_again()
        await settle()
        assert shards.claims >= 1


async def test_a_full_processor_claims_once_it_is_not() -> None:
    """Having had no look at all, because it ran all it may, it does not take that for nothing to do."""
    shards = Shards([shard()])
    claims = claims_of(shards)
    claims._runs.update({f"other/{number}": cast("Any", _Running(BUSY)) for number in range(64)})
    with running(claims):
        claims.wake()
        await settle()
        assert shards.claims == 0
        claims._runs.popitem()
        claims._look_again()
        await settle()
        assert shards.claims >= 1


async def polled(claims: Claims, times: int = 5) -> None:
    """Let so many polls come due."""
    polls = 0
    due = claims._is_due

    def counted() -> bool:
        nonlocal polls
        polls += 1
        return due()

    claims._is_due = counted  # type: ignore[method-assign]  # counts what goes on inside
    await until(lambda: polls >= times)
    claims._is_due = due  # type: ignore[method-assign]  # as it was
    await settle()


async def test_without_the_bell_every_poll_looks() -> None:
    """While the bell is not heard, nothing else tells of what other processors start."""
    shards = Shards([])
    with running(claims_of(shards, bell=Bell(), poll_s=OFTEN_S)):
        await until(lambda: shards.looks >= 5 and shards.jobs.heard >= 5)


async def test_while_the_bell_is_heard_nothing_is_looked_for_until_a_lease_may_end() -> None:
    """Whoever claims after a look holds for a lease at least, so that is how long nothing can be missed."""
    shards, clock = Shards([]), ManualClock()
    claims = claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S, clock=clock)
    with running(claims):
        await polled(claims)
        clock.advance(LEASE_S - 0.001)
        await polled(claims)
        assert shards.looks == 1
        clock.advance(0.001)
        await until(lambda: shards.looks == 2)


async def test_a_lease_that_was_seen_is_looked_at_when_it_ends() -> None:
    """A dead worker's shard is found as soon as it is free, as if there were polls."""
    shards, clock = Shards([]), ManualClock()
    shards.leased_for_s = 4.0
    claims = claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S, clock=clock)
    with running(claims):
        await polled(claims)
        clock.advance(3.9)
        await polled(claims)
        assert shards.looks == 1
        clock.advance(0.1)
        await until(lambda: shards.looks == 2)


async def test_a_bell_that_falls_silent_is_noticed_by_the_next_poll() -> None:
    """From then on every poll looks."""
    shards, bell = Shards([]), Bell(is_heard=True)
    claims = claims_of(shards, bell=bell, poll_s=OFTEN_S)
    with running(claims):
        await polled(claims)
        assert shards.looks == 1
        bell.is_heard = False
        await until(lambda: shards.looks >= 3)


async def test_a_look_that_failed_is_repeated_with_the_next_poll() -> None:
    """An outage of the store does not put off the work until a lease may have ended."""
    shards = Shards([])
    shards.jobs.error = unavailable("AWAY", "away")
    with running(claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S)):
        await until(lambda: shards.jobs.heard >= 3)


async def test_a_look_that_failed_is_repeated_soon_however_seldom_it_is_polled() -> None:
    """Whoever hears the bell polls seldom or never; what the outage hid is found all the same."""
    shards = Shards([])
    shards.jobs.error = unavailable("AWAY", "away")
    with running(claims_of(shards, bell=Bell(is_heard=True), poll_s=NEVER_S)):
        await until(lambda: shards.jobs.heard >= 2)


async def test_what_others_were_faster_to_claim_is_not_all() -> None:
    """As many as are looked for at once may be some of many: with room there is another look."""
    shards = Shards([shard()] * 8)
    claims = claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S)
    with running(claims):
        await until(lambda: shards.looks >= 3)
        assert shards.claims >= 8


async def test_what_there_is_no_room_for_is_not_read_again() -> None:
    """Polls cost no reads while nothing could be claimed anyway."""
    shards = Shards([shard()] * 8)
    claims = claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S)
    fill(claims, replace(BUSY, priority=Priority.HIGH))
    with running(claims):
        await polled(claims)
        assert (shards.looks, shards.jobs.heard) == (0, 1)


async def test_a_claim_that_could_not_be_begun_does_not_put_off_the_others() -> None:
    """The store fails between a claim and the reading of items: what else was found is looked for again."""
    shards = Shards([shard()])
    shards.is_lost = False
    claims = claims_of(shards, bell=Bell(is_heard=True), poll_s=OFTEN_S)

    async def fail(claim: object) -> Any:
        raise unavailable("AWAY", "away")

    claims._start = fail  # type: ignore[method-assign]  # what it reads is away
    with running(claims):
        await until(lambda: shards.looks >= 3)


async def test_a_shard_that_is_being_claimed_when_the_drain_begins_is_drained_too() -> None:
    """Its lease would keep it from everybody else for as long as it lasts; none is claimed after it."""
    shards = Shards([shard()])
    shards.is_lost = False
    claims = claims_of(shards)
    stored, drained = asyncio.Event(), list[str]()

    class Run(_Running):
        async def drain(self, grace_s: float) -> None:
            drained.append(self.job.job_id)

    async def start(claim: Claim) -> Any:
        await stored.wait()
        claims._runs[claim.shard.holder] = cast("Any", Run(claim.job))

    claims._start = start  # type: ignore[method-assign]  # running is not what is tested
    with running(claims):
        await until(lambda: shards.claims == 1)
        draining = asyncio.create_task(claims.drain(0.0))
        await settle()
        stored.set()
        await draining
        await settle()
    assert (drained, shards.claims) == (["job"], 1)
