"""Reports: the latest of each producer, in order, bounded, repeated until acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.jobs.item import ItemCounts
from parallel_processor.running import reporting
from parallel_processor.running.ports import Owner
from parallel_processor.running.reporting import Report, Reporter, job_report, merged, shard_report
from service_common.errors import invalid_field

from tests.unit.processor.running.fakes import AWAY
from tests.unit.processor.samples import NOW, OWNER, job, outcome, shard


class Tracker:
    """A tracker that can be away or hold its answer back, and remembers what it was told."""

    def __init__(self) -> None:
        self.batches: list[list[Report]] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refused: set[str] = set()

    async def report(self, owner: Owner, reports: Sequence[Report]) -> list[bool]:
        """Take reports."""
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        assert {each.owner for each in reports} == {owner}
        self.batches.append(list(reports))
        return [each.producer not in self.refused for each in reports]


def report(producer: str, sequence: int, *items: str, owner: Owner = OWNER) -> Report:
    """Return a report of items that finished."""
    outcomes = {each: outcome(each) for each in items}
    return Report(owner, "job", producer, sequence, NOW, counts=ItemCounts(), outcomes=outcomes)


@asynccontextmanager
async def running(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reporter]:
    """Run a reporter whose naps take no time."""
    real_sleep = asyncio.sleep
    monkeypatch.setattr("parallel_processor.running.reporting.asyncio.sleep", lambda _seconds: real_sleep(0))
    reporter = Reporter(tracker, rng=random.Random(1))
    task = asyncio.create_task(reporter.run())
    yield reporter
    task.cancel()


async def test_reports_go_out_in_order_and_are_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers are told of in the order in which they first spoke; then their sequence is durable."""
    tracker = Tracker()
    async with running(tracker, monkeypatch) as reporter:
        for number in range(3):
            reporter.submit(report(f"shard-{number}", 1, f"i{number}"))
        assert not reporter.is_acknowledged("job", "shard-0", 1)
        await reporter.flushed()
    assert [each.producer for batch in tracker.batches for each in batch] == ["shard-0", "shard-1", "shard-2"]
    assert reporter.is_acknowledged("job", "shard-0", 1)
    assert not reporter.is_acknowledged("job", "shard-0", 2)


async def test_reports_gather_once_all_there_were_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first goes at once; those of the nap after it go together; whoever waits for all does not nap."""
    tracker = Tracker()
    nap = asyncio.Event()
    monkeypatch.setattr("parallel_processor.running.reporting.asyncio.sleep", lambda _seconds: nap.wait())
    reporter = Reporter(tracker, rng=random.Random(1))
    task = asyncio.create_task(reporter.run())
    reporter.submit(report("shard-0", 1))
    await reporter.flushed()
    for number in range(1, 5):
        reporter.submit(report(f"shard-{number}", 1))
        await asyncio.wait({task}, timeout=0)
    assert [len(each) for each in tracker.batches] == [1]
    nap.set()
    await reporter.flushed()
    task.cancel()
    assert [len(each) for each in tracker.batches] == [1, 4]


async def test_while_the_tracker_is_away_reports_conflate_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an outage there is one report of each producer: the latest state, and every item since."""
    tracker = Tracker()
    tracker.gate.clear()
    tracker.failures = [AWAY, AWAY, invalid_field("x", "refused")]
    async with running(tracker, monkeypatch) as reporter:
        for sequence in range(1, 51):
            reporter.submit(report("shard-0", sequence, f"i{sequence}"))
            await asyncio.sleep(0)
        tracker.gate.set()
        await reporter.flushed()
    (only,) = tracker.batches
    assert [(each.sequence, set(each.outcomes)) for each in only] == [
        (50, {f"i{sequence}" for sequence in range(1, 51)})
    ]


async def test_a_report_that_is_not_made_durable_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the tracker refuses does not count as told, and does not hold up the others."""
    tracker = Tracker()
    tracker.refused = {"shard-0"}
    async with running(tracker, monkeypatch) as reporter:
        reporter.submit(report("shard-0", 1))
        reporter.submit(report("shard-1", 1))
        await reporter.flushed()
    assert not reporter.is_acknowledged("job", "shard-0", 1)
    assert reporter.is_acknowledged("job", "shard-1", 1)


async def test_a_batch_is_of_one_owner_and_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenants are never mixed, and no batch is larger than the tracker takes."""
    tracker = Tracker()
    other = Owner("umbrella", "uma")
    async with running(tracker, monkeypatch) as reporter:
        for number in range(1200):
            owner = OWNER if number % 2 else other
            reporter.submit(report(f"shard-{number}", 1, *(f"{number}.{n}" for n in range(3)), owner=owner))
        await reporter.flushed()
    sizes = [(len(batch), sum(len(each.outcomes) for each in batch)) for batch in tracker.batches]
    assert max(reports for reports, _ in sizes) <= 1000
    assert max(items for _, items in sizes) <= 1000
    assert sum(reports for reports, _ in sizes) == 1200


async def test_many_small_reports_stay_below_the_trackers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without items count too: after a long outage of many shards each batch is still accepted."""
    tracker = Tracker()
    async with running(tracker, monkeypatch) as reporter:
        for number in range(2500):
            reporter.submit(report(f"shard-{number}", 1))
        await reporter.flushed()
    assert max(map(len, tracker.batches)) <= 1000


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest item updates are given up, and counted; totals are kept."""
    monkeypatch.setattr(reporting, "_MAX_ITEMS_PENDING", 10)
    tracker = Tracker()
    tracker.gate.clear()
    async with running(tracker, monkeypatch) as reporter:
        for number in range(8):
            reporter.submit(report(f"shard-{number}", 1, f"{number}a", f"{number}b"))
        assert (reporter.pending, reporter.dropped) == (8, 6)
        tracker.gate.set()
        await reporter.flushed()
    told = [each for batch in tracker.batches for each in batch]
    assert [len(each.outcomes) for each in told] == [0, 0, 0, 2, 2, 2, 2, 2]


@given(st.permutations(range(1, 6)))
def test_the_highest_sequence_wins_whatever_order_reports_arrive_in(order: list[int]) -> None:
    """Merging in any order gives the newest state with the items of all."""
    both = report("shard-0", order[0], f"i{order[0]}")
    for sequence in order[1:]:
        both = merged(both, report("shard-0", sequence, f"i{sequence}"))
    assert (both.sequence, len(both.outcomes)) == (5, 5)


async def test_reports_that_must_wait_keep_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of the tracker does not fill the memory with texts; everything else of a piece is told."""
    tracker = Tracker()
    tracker.failures = [AWAY]
    async with running(tracker, monkeypatch) as reporter:
        reporter.submit(shard_report(job(), replace(shard(), commits=4), [outcome("a", content="long")], NOW))
        await reporter.flushed()
    ((told,),) = tracker.batches
    piece = told.outcomes["a"].piece
    assert piece is not None
    assert (piece.content, piece.quality, told.sequence) == ("", 0.5, 4)


def test_a_jobs_report_is_numbered_by_its_revision() -> None:
    """So that repeats, from whichever process, are recognised."""
    assert job_report(replace(job(), revision=7), NOW).sequence == 7
