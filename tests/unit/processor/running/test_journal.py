"""The journal: calls are announced before they are made, results travel together, a lost lease is final."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from parallel_processor.jobs.item import ItemState, Outcome
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Commit, Shard, ShardPhase, claimed, committed, is_applied, settled
from parallel_processor.running.journal import Allowance, Journal, Pace
from service_common.clock import ManualClock, SystemClock
from service_common.errors import ServiceError, unavailable

from tests.unit.processor.running.fakes import purse
from tests.unit.processor.samples import LEASE, NOW, outcome, shard


@dataclass
class Ledger:
    """A store of one shard that can be away, or lose its answers."""

    shard: Shard
    commits: list[Commit] = field(default_factory=list)
    chunks: dict[str, dict[int, Outcome]] = field(default_factory=dict)
    refuse: int = 0
    lose_answers: int = 0
    settle_meanwhile: bool = False
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def commit(
        self, shard: Shard, commit: Commit, results: Mapping[str, Mapping[int, Outcome]]
    ) -> Shard:
        """Do as the repository does."""
        await asyncio.sleep(0)
        self.busy.set()
        await self.free.wait()
        if self.refuse:
            self.refuse -= 1
            raise unavailable("STORE_UNAVAILABLE", "away")
        if not is_applied(self.shard, commit):
            self.shard = committed(self.shard, commit)
            self.commits.append(commit)
            self.chunks |= {name: dict(each) for name, each in results.items()}
        if self.lose_answers:
            self.lose_answers -= 1
            if self.settle_meanwhile:
                self.shard = settled(self.shard, reported=False)
            raise unavailable("STORE_UNAVAILABLE", "the answer is lost")
        return self.shard


class Bench:
    """A journal at work on a shard that was just claimed."""

    def __init__(self, size: int = 3, *, interval_s: float = 0.0, ahead: int = 0) -> None:
        held = claimed(shard(size), owner="w", now=NOW, lease=LEASE)
        self.ledger = Ledger(held)
        self.told: list[tuple[int, list[str]]] = []
        clock = SystemClock() if interval_s else ManualClock()
        self.allowance = Allowance(ahead)
        self.journal = Journal(
            held,
            self.ledger,
            clock=clock,
            rng=random.Random(1),
            lease=LEASE,
            pace=Pace(interval_s, self.allowance),
            purse=purse(),
            on_commit=self._tell,
        )
        self.running = asyncio.create_task(self.journal.run())

    def _tell(self, after: Shard, outcomes: Sequence[Outcome]) -> None:
        self.told.append((after.commits, [each.item_id for each in outcomes]))

    def finish(self, *indexes: int) -> None:
        """Finish items."""
        for index in indexes:
            self.journal.finish(index, outcome(str(index)))

    async def close(self) -> Shard:
        """Let it commit what there is, and return what is durable."""
        self.journal.close()
        await self.running
        return self.ledger.shard


async def test_an_announcement_is_durable_when_it_returns() -> None:
    """Once `announce` has returned the intent is in the store, and only then."""
    bench = Bench()
    announcing = asyncio.ensure_future(bench.journal.announce(1, 500))
    await asyncio.sleep(0)
    assert not announcing.done()
    await announcing
    assert dict(bench.ledger.shard.intents) == {1: 500}
    await bench.close()


async def test_what_is_ready_together_is_one_commit() -> None:
    """Announcements and results of one moment are committed together."""
    bench = Bench(5, interval_s=3600.0)
    bench.finish(0, 1)
    await asyncio.gather(bench.journal.announce(2, 10), bench.journal.announce(3, 20))
    assert [(len(each.outcomes), dict(each.intents)) for each in bench.ledger.commits] == [
        (2, {2: 10, 3: 20})
    ]
    assert bench.told == [(1, ["0", "1"])]
    await bench.close()


async def test_results_wait_for_company_but_the_last_one_does_not() -> None:
    """With an endless interval nothing is committed before the shard's last result, which ends the run."""
    bench = Bench(3, interval_s=3600.0)
    bench.finish(0)
    bench.finish(1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.ledger.commits == []
    bench.finish(2)
    await bench.running
    assert [len(each.outcomes) for each in bench.ledger.commits] == [3]
    assert bench.journal.shard.phase is ShardPhase.FINISHED


async def test_results_too_large_for_one_commit_come_in_several() -> None:
    """A commit holds what every store takes; each result is in exactly one, and in the end all are."""
    bench = Bench(12, interval_s=3600.0)
    for index in range(12):
        bench.journal.finish(index, outcome(str(index), content="x" * 500_000))
    await bench.running
    assert [len(each.outcomes) for each in bench.ledger.commits] == [6, 6]
    assert sorted(index for chunk in bench.ledger.chunks.values() for index in chunk) == list(range(12))
    assert bench.journal.shard.phase is ShardPhase.FINISHED


async def test_a_result_replaces_its_announcement() -> None:
    """The outcome's commit takes the intent away, and nothing of it is left as uncertain."""
    bench = Bench()
    await bench.journal.announce(0, 500)
    bench.finish(0)
    after = await bench.close()
    assert (dict(after.intents), after.usage.uncertain_spend_micros) == ({}, 0)
    assert after.usage.cost_micros == 7


async def test_an_accounted_call_counts_what_was_noted() -> None:
    """A call whose fate is unknown leaves the intents and is counted as said."""
    bench = Bench()
    await bench.journal.announce(0, 500)
    bench.journal.account(0, Usage(uncertain_calls=1, uncertain_spend_micros=500))
    after = await bench.close()
    assert (dict(after.intents), after.usage.uncertain_calls) == ({}, 1)
    assert after.usage.uncertain_spend_micros == 500


async def test_an_item_announced_again_after_an_account_stands_announced() -> None:
    """Accounting for a first try and announcing the second in one commit leaves the second announced."""
    bench = Bench()
    await bench.journal.announce(0, 500)
    bench.journal.account(0, Usage())
    await bench.journal.announce(0, 600)
    assert dict(bench.ledger.shard.intents) == {0: 600}
    await bench.close()


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_an_unavailable_store_is_asked_again_and_nothing_counts_twice(lost: str) -> None:
    """Whether the commit or its answer was lost, the repeat leaves one commit and one result."""
    bench = Bench()
    bench.ledger.refuse, bench.ledger.lose_answers = (2, 0) if lost == "request" else (0, 1)
    bench.finish(0)
    after = await bench.close()
    assert (after.commits, after.usage.model_calls, len(after.result_chunks)) == (1, 1, 1)
    assert bench.told == [(1, ["0"])]


async def test_a_run_ends_though_its_shard_was_settled_before_the_answer_came() -> None:
    """The last commit's answer is lost and another process settles the shard: the run still ends."""
    bench = Bench(1)
    bench.ledger.lose_answers, bench.ledger.settle_meanwhile = 1, True
    bench.finish(0)
    await asyncio.wait_for(bench.running, 10)
    assert bench.journal.shard.phase is ShardPhase.SETTLED


async def test_calls_in_line_are_announced_with_those_before_them() -> None:
    """As many as are allowed go along, in their order, and need no commit when their turn comes."""
    bench = Bench(6, ahead=3)
    for index in range(6):
        bench.journal.expect(index, 100 + index)
    await asyncio.gather(bench.journal.announce(0, 100), bench.journal.announce(1, 101))
    assert dict(bench.ledger.shard.intents) == {index: 100 + index for index in range(5)}
    assert bench.journal.announce(2, 102).done()  # type: ignore[attr-defined]  # a future
    assert len(bench.ledger.commits) == 1
    await bench.journal.announce(5, 105)
    assert dict(bench.ledger.commits[1].intents) == {5: 105}
    await bench.close()


async def test_a_call_whose_announcement_is_under_way_waits_for_it() -> None:
    """A call that comes while its announcement is being committed waits for just that commit."""
    bench = Bench(3, ahead=10)
    bench.journal.expect(1, 200)
    bench.ledger.free.clear()
    first = bench.journal.announce(0, 100)
    await bench.ledger.busy.wait()
    second = bench.journal.announce(1, 200)
    assert not second.done()  # type: ignore[attr-defined]  # a future
    bench.ledger.free.set()
    await asyncio.gather(first, second)
    assert [dict(each.intents) for each in bench.ledger.commits] == [{0: 100, 1: 200}]
    await bench.close()


@pytest.mark.parametrize("end", ["finish", "account"])
async def test_a_call_that_was_announced_and_never_came_leaves_nothing(end: str) -> None:
    """An item that needs no call after all takes its announcement away."""
    bench = Bench(3, ahead=10)
    bench.journal.expect(1, 200)
    await bench.journal.announce(0, 100)
    assert dict(bench.ledger.shard.intents) == {0: 100, 1: 200}
    if end == "finish":
        bench.finish(1)
    else:
        bench.journal.account(1, Usage())
    bench.finish(0)
    after = await bench.close()
    assert dict(after.intents) == {}
    assert after.usage.uncertain_calls == 0


async def test_the_allowance_is_shared_and_comes_back() -> None:
    """Calls announced ahead are bounded over all journals, until they come or their run ends."""
    one, two = Bench(9, ahead=4), Bench(9)
    two.journal._pace = Pace(0.0, one.allowance)
    for bench in (one, two):
        for index in range(1, 9):
            bench.journal.expect(index, 1)
        await bench.journal.announce(0, 1)
    assert [len(bench.ledger.shard.intents) for bench in (one, two)] == [1 + 4, 1]
    assert one.allowance.left == 0
    await one.journal.announce(1, 1)
    assert one.allowance.left == 1
    await two.journal.announce(1, 1)
    assert len(two.ledger.shard.intents) == 2 + 1
    assert one.allowance.left == 0
    await one.close()
    await two.close()
    assert one.allowance.left == 4


async def test_results_that_come_during_a_commit_wait_for_company_too() -> None:
    """One commit after another would follow for each result that trickles in."""
    bench = Bench(9, interval_s=3_600.0)
    bench.ledger.free.clear()
    announced = bench.journal.announce(8, 1)
    await bench.ledger.busy.wait()
    bench.finish(0, 1)
    bench.ledger.free.set()
    await announced
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.ledger.commits) == 1
    bench.finish(2, 3, 4, 5, 6, 7, 8)
    await bench.running
    assert [len(each.outcomes) for each in bench.ledger.commits] == [0, 9]


async def test_without_leave_nothing_is_announced_ahead() -> None:
    """The default announces exactly the calls that are made."""
    bench = Bench(3)
    bench.journal.expect(1, 200)
    await bench.journal.announce(0, 100)
    assert dict(bench.ledger.shard.intents) == {0: 100}
    await bench.close()


async def test_a_lost_lease_ends_the_run_and_fails_who_waits() -> None:
    """The next epoch's claim makes every commit of this one fail: announcements raise, nothing is written."""
    bench = Bench()
    bench.ledger.shard = replace(bench.ledger.shard, epoch=9)
    with pytest.raises(ServiceError) as caught:
        await bench.journal.announce(0, 500)
    assert caught.value.reason == "LEASE_LOST"
    with pytest.raises(ServiceError):
        await bench.running
    assert bench.ledger.commits == []


async def test_documents_of_results_are_bounded_and_named_by_epoch_and_commit() -> None:
    """Large results, and small ones with large labels, go into several documents under ids of their own."""
    bench = Bench(3)
    for index in range(2):
        bench.journal.finish(index, outcome(str(index), content="x" * 500_000))
    heavy = {f"{n}": "v" * 50_000 for n in range(10)}
    bench.journal.finish(2, replace(outcome("2", ItemState.FAILED), labels=heavy))
    await bench.running
    assert bench.ledger.chunks.keys() == {"job.0.1.1.0", "job.0.1.1.1", "job.0.1.1.2"}
    assert sorted(index for each in bench.ledger.chunks.values() for index in each) == [0, 1, 2]
    assert bench.ledger.shard.result_chunks == tuple(sorted(bench.ledger.chunks))
