"""The ledger over a real store: grouped, conditional, and honest about what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from google.protobuf.message import DecodeError
from progress_tracker.convert import EventMessages
from progress_tracker.job_log import LogChanges
from progress_tracker.ledger import Ledger, Outcome
from progress_tracker.report import Acknowledgement, Report, Totals
from progress_tracker.repository import SCHEMA, Repository
from service_common.clock import ManualClock
from service_common.errors import ServiceError, unavailable
from service_common.storage import DocumentStore
from service_common.storage.memory import MemoryStore

from tests.unit.tracker.samples import item, report


class Journal:
    """Listens, and keeps the numbers of the events in the order they became durable."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.commits = 0

    def committed(self, tenant: str, changes: LogChanges) -> None:
        """Keep the events."""
        self.commits += 1
        self.numbers += [pb.ProgressEvent.FromString(each).sequence for each in changes.events]

    def acknowledged(self, reports: Sequence[Report], outcomes: Sequence[Outcome]) -> None:
        """Answers are looked at by the tests themselves."""


class FailingStore:
    """A store that is out of reach when told so, before or after it has done the work."""

    def __init__(self, inner: DocumentStore) -> None:
        self._inner = inner
        self.fail_before = False
        self.fail_after = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def transact(self, keys: Any, decide: Callable[..., Any]) -> Any:
        """Do, or fail to, as told."""
        await asyncio.sleep(0)
        if self.fail_before:
            raise unavailable("STORE_UNAVAILABLE", "down")
        result = await self._inner.transact(keys, decide)
        if self.fail_after:
            raise unavailable("STORE_UNAVAILABLE", "the answer was lost")
        return result


def make(
    store: Any, clock: ManualClock, *, max_jobs: int = 10, max_items: int = 1000, interval_s: float = 0.0
) -> tuple[Ledger, Journal]:
    """Return a ledger as one tracker process has it."""
    events = EventMessages()
    repository = Repository(
        store, clock=clock, retention=timedelta(days=1), encoder=events, read_items=events.read_items
    )
    journal = Journal()
    ledger = Ledger(
        repository,
        clock=clock,
        listeners=(journal,),
        max_jobs=max_jobs,
        max_items=max_items,
        interval_s=interval_s,
    )
    return ledger, journal


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> FailingStore:
    """Return an empty store."""
    return FailingStore(MemoryStore(SCHEMA, clock))


async def test_reports_that_arrive_together_share_a_commit(store: FailingStore, clock: ManualClock) -> None:
    """Fifty calls at once are two commits: the first caller's, and one for all who came meanwhile."""
    ledger, journal = make(store, clock)
    calls = [
        ledger.record("t", "j", [report(1, item(f"i{each}"), producer=f"p{each}")]) for each in range(50)
    ]
    answers = await asyncio.gather(*calls)
    assert [[Acknowledgement(1, duplicate=False)]] * 50 == answers
    assert journal.numbers == list(range(1, 51))
    assert journal.commits <= 2


async def test_reports_within_the_interval_share_a_commit(store: FailingStore, clock: ManualClock) -> None:
    """The first report is durable at once; those that follow, one after another, wait for one commit."""
    ledger, journal = make(store, clock, interval_s=3_600)
    await ledger.record("t", "j", [report(1, item("a"), producer="a")])
    later = [
        asyncio.create_task(ledger.record("t", "j", [report(1, item(f"b{each}"), producer=f"p{each}")]))
        for each in range(20)
    ]
    for _ in range(50):
        await asyncio.sleep(0)
    assert journal.commits == 1
    await ledger.record("t", "other", [report(1, item("a"))])
    assert journal.commits == 2  # of another job: it waits for nobody
    await ledger.close()
    await asyncio.gather(*later)
    assert journal.commits == 3


async def test_a_job_at_rest_is_written_at_once(store: FailingStore, clock: ManualClock) -> None:
    """Once the interval has passed, a report waits for nothing."""
    ledger, journal = make(store, clock, interval_s=3_600)
    for number in range(1, 4):
        await ledger.record("t", "j", [report(number, item(f"i{number}"))])
        clock.advance(3_600)
    assert journal.commits == 3


async def test_the_rest_of_a_large_call_does_not_wait(store: FailingStore, clock: ManualClock) -> None:
    """A call that takes several commits has its answer after them, not after as many intervals."""
    ledger, journal = make(store, clock, max_items=100_000, interval_s=3_600)
    reports = [
        report(1, *(item(f"{number}-{each}") for each in range(30)), producer=f"p{number}")
        for number in range(1000)
    ]
    await ledger.record("t", "j", reports)
    assert journal.commits > 10


async def test_two_trackers_on_one_store_never_give_a_number_twice(
    store: FailingStore, clock: ManualClock
) -> None:
    """Overtaken commits are redone: the numbers of both together are 1, 2, 3, …, each once."""
    first, one = make(store, clock)
    second, other = make(store, clock)
    for round_number in range(1, 21):
        await asyncio.gather(
            first.record("t", "j", [report(round_number, item(f"a{round_number}"), producer="a")]),
            second.record("t", "j", [report(round_number, item(f"b{round_number}"), producer="b")]),
        )
    assert list(range(1, 41)) == sorted(one.numbers + other.numbers)


async def test_a_repeat_is_acknowledged_by_any_tracker(store: FailingStore, clock: ManualClock) -> None:
    """Who has reported what is in the store, so another process recognises the repeat."""
    first, _ = make(store, clock)
    second, journal = make(store, clock)
    await first.record("t", "j", [report(7, item("a"), totals=Totals(succeeded=1))])
    assert [Acknowledgement(7, duplicate=True)] == await second.record("t", "j", [report(6, item("b"))])
    assert journal.numbers == []


async def test_nothing_is_acknowledged_while_the_store_is_down(
    store: FailingStore, clock: ManualClock
) -> None:
    """UNAVAILABLE, no event told; the repeat after recovery is taken as new, under the same number."""
    ledger, journal = make(store, clock)
    await ledger.record("t", "j", [report(1, item("a"))])
    store.fail_before = True
    with pytest.raises(ServiceError) as caught:
        await ledger.record("t", "j", [report(2, item("b"))])
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert journal.numbers == [1]
    store.fail_before = False
    assert [Acknowledgement(2, duplicate=False)] == await ledger.record("t", "j", [report(2, item("b"))])
    assert journal.numbers == [1, 2]


async def test_a_commit_whose_answer_was_lost_is_found_again(store: FailingStore, clock: ManualClock) -> None:
    """The repeat finds it durable: a duplicate, and no second event."""
    ledger, _ = make(store, clock)
    store.fail_after = True
    with pytest.raises(ServiceError):
        await ledger.record("t", "j", [report(1, item("a"))])
    store.fail_after = False
    assert [Acknowledgement(1, duplicate=True)] == await ledger.record("t", "j", [report(1, item("a"))])
    assert [Acknowledgement(2, duplicate=False)] == await ledger.record("t", "j", [report(2, item("a"))])


async def test_memory_is_bounded_and_what_left_it_is_read_again(
    store: FailingStore, clock: ManualClock
) -> None:
    """Beyond the limits jobs leave memory; their items are still known, so repeats make no events."""
    ledger, journal = make(store, clock, max_jobs=3, max_items=1000)
    for job in range(10):
        await ledger.record("t", f"j{job}", [report(1, *(item(f"i{each}") for each in range(60)))])
    await asyncio.sleep(0)
    assert ledger.jobs == 3
    told = len(journal.numbers)
    await ledger.record("t", "j0", [report(2, *(item(f"i{each}") for each in range(61)))])
    assert journal.numbers[told:] == [61]


async def test_a_caller_that_leaves_takes_nobody_with_it(store: FailingStore, clock: ManualClock) -> None:
    """Work belongs to all who wait: cancelling the first call leaves the second one answered."""
    ledger, journal = make(store, clock)
    leaving = asyncio.create_task(ledger.record("t", "j", [report(1, item("a"), producer="a")]))
    await asyncio.sleep(0)
    staying = asyncio.create_task(ledger.record("t", "j", [report(1, item("b"), producer="b")]))
    leaving.cancel()
    assert [Acknowledgement(1, duplicate=False)] == await staying
    assert journal.numbers == [1, 2]


async def test_tenants_do_not_meet(store: FailingStore, clock: ManualClock) -> None:
    """Two tenants' jobs of one name have histories of their own."""
    ledger, journal = make(store, clock)
    await ledger.record("t", "j", [report(1, item("a"))])
    assert [Acknowledgement(1, duplicate=False)] == await ledger.record("u", "j", [report(1, item("a"))])
    assert journal.numbers == [1, 1]


async def test_a_closed_ledger_finishes_and_takes_no_more(store: FailingStore, clock: ManualClock) -> None:
    """What was accepted before closing is durable; what comes after is refused."""
    ledger, journal = make(store, clock)
    accepted = asyncio.create_task(ledger.record("t", "j", [report(1, item("a"))]))
    await asyncio.sleep(0)
    await ledger.close()
    assert [Acknowledgement(1, duplicate=False)] == await accepted
    with pytest.raises(ServiceError):
        await ledger.record("t", "j", [report(2, item("b"))])
    assert journal.numbers == [1]


async def test_a_call_too_large_for_one_commit_is_cut_and_numbered_through(
    store: FailingStore, clock: ManualClock
) -> None:
    """A thousand reports of many items are several commits, in order, within what a store takes."""
    ledger, journal = make(store, clock, max_items=100_000)
    reports = [
        report(1, *(item(f"{number}-{each}") for each in range(30)), producer=f"p{number}")
        for number in range(1000)
    ]
    answers = await ledger.record("t", "j", reports)
    assert answers == [Acknowledgement(1, duplicate=False)] * 1000
    assert journal.numbers == list(range(1, 30_001))
    assert journal.commits > 10


async def test_later_reports_do_not_overtake_refused_ones(store: FailingStore, clock: ManualClock) -> None:
    """If a part cannot be stored, the parts behind it are not: the repeat finds nothing skipped."""
    ledger, journal = make(store, clock)
    reports = [report(number, item(f"i{number}")) for number in range(1, 901)]
    recording = asyncio.create_task(ledger.record("t", "j", reports))
    store.fail_before = True
    with pytest.raises(ServiceError):
        await recording
    store.fail_before = False
    answers = await ledger.record("t", "j", reports)
    assert not any(isinstance(each, ServiceError) or each.duplicate for each in answers)
    assert journal.numbers == list(range(1, 901))


async def test_a_bug_fails_its_callers_and_nobody_else(store: FailingStore, clock: ManualClock) -> None:
    """An unexpected error reaches those whose commit it was, and the job goes on."""
    ledger, journal = make(store, clock)
    broken = replace(item("a"), body=b"\xff")
    with pytest.raises(DecodeError):
        await ledger.record("t", "j", [report(1, broken)])
    assert await ledger.record("t", "j", [report(1, item("a"))]) == [Acknowledgement(1, duplicate=False)]
    assert journal.numbers == [1]
