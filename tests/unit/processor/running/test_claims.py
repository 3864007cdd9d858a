"""When a processor looks for shards: at once while some may be left, else at the next poll."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from parallel_processor.jobs.shard import Shard
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.journal import Pace
from service_common.clock import ManualClock

from tests.unit.processor.running.fakes import settle
from tests.unit.processor.samples import shard

NEVER_S = 3_600.0


class Shards:
    """Answers each look with the same shards, and counts the looks."""

    def __init__(self, found: list[Shard]) -> None:
        self.found = found
        self.looks = 0

    async def claimable(self, *, now: datetime, limit: int) -> list[Shard]:
        """Return what may be claimed."""
        self.looks += 1
        return self.found[:limit]


class Slots:
    """Slots that are all taken."""

    active = 4
    waiting = 4
    limit = 4


def claims_of(shards: Shards) -> Claims:
    """Make claims over these shards, with room for none of them, that never poll."""
    policy = ClaimPolicy("worker", timedelta(seconds=30), poll_s=NEVER_S, pace=Pace(0.01))
    claims = Claims(
        policy,
        jobs=cast("Any", None),
        shards=cast("Any", shards),
        workshop=cast("Any", None),
        slots=cast("Any", Slots()),
        reporter=cast("Any", None),
        settling=cast("Any", None),
        clock=ManualClock(),
        rng=random.Random(1),
        on_outcomes=lambda _: None,
        on_committed=lambda _: None,
    )
    urgent = cast("Any", _Running())
    claims._runs["other.0@1"] = urgent
    return claims


class _Running:
    """A run as urgent as anything that waits."""

    unprepared = 0

    class job:  # noqa: N801 - an attribute of a run
        priority = 1_000


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


async def test_what_was_left_for_want_of_room_is_looked_for() -> None:
    """As soon as there may be room, and not first at the next poll."""
    shards = Shards([shard()])
    claims = claims_of(shards)
    with running(claims):
        await settle()
        claims._look_again()
        await settle()
        assert shards.looks == 2


async def test_a_full_processor_looks_once_it_is_not() -> None:
    """Having had no look at all, because it ran all it may, it does not take that for nothing to do."""
    shards = Shards([])
    claims = claims_of(shards)
    with running(claims):
        await settle()
        claims._runs.update({f"other.{number}@1": claims._runs["other.0@1"] for number in range(1, 64)})
        claims.wake()
        await settle()
        assert shards.looks == 1
        claims._runs.popitem()
        claims._look_again()
        await settle()
        assert shards.looks == 2
