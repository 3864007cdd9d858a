"""Leases are renewed when no commit did it, and what a job became elsewhere it becomes here."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.shard import Shard, claimed
from parallel_processor.limits.lanes import Lanes
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.journal import Pace
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable

from tests.unit.processor.running.fakes import purse, settle, spending
from tests.unit.processor.samples import LEASE, job, shard


@dataclass
class Store:
    """Counts what is renewed and which jobs are read."""

    state: JobState = JobState.RUNNING
    is_away: bool = False
    renewed: list[tuple[int, datetime]] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)

    async def renew(self, shard: Shard, *, lease_until: datetime) -> None:
        """Note the renewal."""
        if self.is_away:
            raise unavailable("STORE_UNAVAILABLE", "away")
        self.renewed.append((shard.number, lease_until))

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return the job."""
        self.read[job_id] += 1
        if self.is_away:
            raise unavailable("STORE_UNAVAILABLE", "away")
        return replace(job(), tenant=tenant, job_id=job_id, state=self.state)


class Run:
    """A run of a shard whose last commit was at a time."""

    def __init__(self, number: int, committed: datetime) -> None:
        self.job = job()
        self.journal = self
        self.purse = purse()
        self.shard = claimed(
            replace(shard(), number=number, claimable_at=committed), owner="w", now=committed, lease=LEASE
        )
        self.adopted: list[JobState] = []

    async def adopt(self, job: Job) -> None:
        """Note what the job has become."""
        self.adopted.append(job.state)


@pytest.fixture
def clock() -> ManualClock:
    """Moved by hand."""
    return ManualClock()


def claims_over(store: Store, runs: list[Run], clock: ManualClock) -> Claims:
    """Make claims that run these."""
    claims = Claims(
        ClaimPolicy("worker", LEASE, poll_s=3_600.0, pace=Pace(0.0)),
        jobs=cast("Any", store),
        shards=cast("Any", store),
        workshop=cast("Any", None),
        slots=Lanes(1, clock=clock, rng=random.Random(1)),
        reporter=cast("Any", None),
        settling=cast("Any", None),
        bell=cast("Any", None),
        clock=clock,
        rng=random.Random(1),
        spending=spending(),
        on_outcomes=lambda _: None,
        on_committed=lambda _: None,
    )
    claims._runs.update({each.shard.holder: cast("Any", each) for each in runs})
    return claims


async def test_only_leases_that_run_low_are_renewed(clock: ManualClock) -> None:
    """A commit renews the lease, so a shard that has just committed costs nothing more."""
    now = clock.now()
    runs = [Run(0, now), Run(1, now - LEASE / 2), Run(2, now - LEASE + timedelta(seconds=1))]
    store = Store()
    await claims_over(store, runs, clock).renew_once()
    assert store.renewed == [(1, now + LEASE), (2, now + LEASE)]


async def test_a_job_is_read_once_for_all_its_shards(clock: ManualClock) -> None:
    """However many of its shards run here."""
    store = Store()
    runs = [Run(number, clock.now()) for number in range(5)]
    await claims_over(store, runs, clock).renew_once()
    assert store.read == {runs[0].job.job_id: 1}
    await settle()
    assert [each.adopted for each in runs] == [[JobState.RUNNING]] * 5


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.PAUSED])
async def test_what_a_job_became_elsewhere_it_becomes_here(clock: ManualClock, state: JobState) -> None:
    """All of its shards are told, by the next renewal and by every ring of the bell."""
    runs = [Run(number, clock.now()) for number in range(3)]
    claims = claims_over(Store(state=state), runs, clock)
    await claims.renew_once()
    await settle()
    assert [each.adopted for each in runs] == [[state]] * 3
    claims.rung()
    await settle()
    assert [each.adopted for each in runs] == [[state] * 2] * 3


async def test_an_outage_of_the_store_stops_nothing(clock: ManualClock) -> None:
    """What fails is tried again in the next round."""
    store = Store(is_away=True)
    runs = [Run(0, clock.now() - LEASE)]
    claims = claims_over(store, runs, clock)
    try:
        await claims.renew_once()
    except ServiceError:
        pytest.fail("an outage got through")
    store.is_away = False
    await claims.renew_once()
    assert len(store.renewed) == 1
