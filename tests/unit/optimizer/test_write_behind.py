"""Outcomes behind memory: seen at once, stored in few writes, counted once, and never lost in silence."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import cast

import pytest
from prompt_optimizer.outcomes.account import REMEMBERED
from prompt_optimizer.outcomes.listing import Where
from prompt_optimizer.outcomes.page import MOST_LISTED
from prompt_optimizer.outcomes.record import QualityRecord
from prompt_optimizer.outcomes.write_behind import _MOST_PAGES, WriteBehind
from prompt_optimizer.repository import SCHEMA, OutcomeRepository
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError, unavailable
from service_common.storage import DocumentStore, Key
from service_common.storage.metering import MeteredStore, Operation

from tests.unit.optimizer.samples import FAQ, RAW, Hooked, part, record, version_of

AWAY = unavailable("STORE_UNAVAILABLE", "away")
UNKNOWN = unavailable("COMMIT_UNKNOWN", "who knows")
DAMAGED = ServiceError(ErrorKind.DATA_LOSS, "STORE_DAMAGED", "damaged")
_PAGE_NUMBERS = count()


def behind(
    store: DocumentStore | Hooked,
    clock: ManualClock,
    *,
    most: int = 1000,
    interval_s: float = 60,
    on_refused: Callable[[int], None] = lambda _: None,
) -> WriteBehind:
    """Return a process's outcomes over a store."""
    return WriteBehind(
        OutcomeRepository(cast("DocumentStore", store), retention=timedelta(days=90)),
        clock=clock,
        new_id=lambda: f"{next(_PAGE_NUMBERS):016x}",
        interval_s=interval_s,
        most=most,
        on_refused=on_refused,
    )


async def outcomes(counted: WriteBehind, tenant: str = "acme") -> int:
    """Return how many outcomes of the FAQ are in the statistics."""
    return (await counted.get(tenant, [FAQ]))[0].outcomes


async def stored(store: DocumentStore, tenant: str = "acme") -> list[QualityRecord]:
    """Return all records that are stored."""
    repository = OutcomeRepository(store, retention=timedelta(days=90))
    return [each async for page in repository.pages(tenant, Where(), until=None) for each in page.records]


async def test_what_was_counted_shows_at_once_and_is_stored_with_the_flush(
    store: DocumentStore, clock: ManualClock
) -> None:
    """The same sums before and after; another process sees them, and the records, after."""
    first, other = behind(store, clock), behind(store, clock)
    await first.take("acme", [part("a"), part("b")], first=True)
    assert (await outcomes(first), await outcomes(other), len(first)) == (2, 0, 2)
    await first.flush()
    assert (await outcomes(first), await outcomes(other), len(first)) == (2, 2, 0)
    assert await stored(store) == [record(), record()]
    assert (await outcomes(other, "umbrella"), await stored(store, "umbrella")) == (0, [])


async def test_a_part_is_counted_once(store: DocumentStore, clock: ManualClock) -> None:
    """While it waits, after it was stored, and after a restart when it says that it may be a repeat."""
    first = behind(store, clock)
    one = part("a")
    assert await first.take("acme", [one], first=True) == [one]
    assert await first.take("acme", [one], first=False) == []
    await first.flush()
    assert await first.take("acme", [one, part("b")], first=True) == [part("b")]
    later = behind(store, clock)
    assert await later.take("acme", [one], first=False) == []
    assert await outcomes(later) == 1


async def test_only_a_possible_repeat_is_looked_for(store: DocumentStore, clock: ManualClock) -> None:
    """A first sending reads nothing; any other costs one read, and none while the process knows it."""
    reads: Counter[Operation] = Counter()
    metered = MeteredStore(store, SCHEMA, count=lambda _, operation, n: reads.update({operation: n}))
    counted = behind(metered, clock)
    await counted.take("acme", [part("a")], first=True)
    await counted.take("acme", [part("a")], first=False)
    assert reads[Operation.READ] == 0
    await counted.take("acme", [part("b")], first=False)
    assert reads[Operation.READ] == 1


async def test_a_part_that_two_processes_hold_is_counted_once(
    store: DocumentStore, clock: ManualClock
) -> None:
    """Whoever stores it second leaves it out, also of the records, and keeps the rest of its page."""
    first, second = behind(store, clock), behind(store, clock)
    await first.take("acme", [part("a")], first=True)
    assert await second.take("acme", [part("a"), part("b")], first=False) == [part("a"), part("b")]
    await asyncio.gather(first.flush(), second.flush())
    assert await outcomes(behind(store, clock)) == 2
    assert len(await stored(store)) == 2


async def test_a_commit_of_unknown_fate_is_repeated_and_recognised(
    store: DocumentStore, clock: ManualClock
) -> None:
    """Stored or not, it is counted once in the end; statistics are right in between."""
    hooked = Hooked(store)
    counted = behind(hooked, clock)
    await counted.take("acme", [part("a"), part("raw", record(RAW))], first=True)
    hooked.after = UNKNOWN
    with pytest.raises(ServiceError):
        await counted.flush()
    assert (await outcomes(counted), len(counted)) == (1, 2)
    await counted.take("acme", [part("c")], first=True)
    hooked.after = None
    await counted.flush()
    assert (await outcomes(counted), len(counted)) == (2, 0)
    assert await outcomes(behind(store, clock)) == 2
    assert len(await stored(store)) == 3


async def test_a_page_that_may_have_been_sent_does_not_grow(store: DocumentStore, clock: ManualClock) -> None:
    """What is counted while a commit is under way goes onto the next page, and shows all the while."""
    hooked = Hooked(store)
    counted = behind(hooked, clock)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def pause(_: Sequence[Key]) -> None:
        entered.set()
        await leave.wait()

    await counted.take("acme", [part("a")], first=True)
    hooked.before = pause
    flushing = asyncio.create_task(counted.flush())
    await entered.wait()
    await counted.take("acme", [part("b")], first=True)
    assert await outcomes(counted) == 2
    leave.set()
    await flushing
    assert (await outcomes(counted), len(counted)) == (2, 1)
    assert len(await stored(store)) == 1


async def test_statistics_read_while_a_page_is_stored_count_it_once(
    store: DocumentStore, clock: ManualClock
) -> None:
    """Whether the read sees the accounts before or after the commit."""
    counted = behind(store, clock)
    for number in range(30):
        await counted.take("acme", [part(str(number))], first=True)
        flushing = asyncio.create_task(counted.flush())
        for _ in range(number % 7):
            await asyncio.sleep(0)
        assert await outcomes(counted) == number + 1
        await flushing


async def test_more_than_may_wait_is_refused_whole(store: DocumentStore, clock: ManualClock) -> None:
    """UNAVAILABLE, nothing of it is counted, and after the flush it is taken; a repeat is welcome always."""
    counted = behind(store, clock, most=3)
    await counted.take("acme", [part("a", record(), record())], first=True)
    more = [part("b"), part("c")]
    with pytest.raises(ServiceError) as caught:
        await counted.take("acme", more, first=True)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.UNAVAILABLE, "OUTCOMES_WAITING")
    assert caught.value.retry_after == timedelta(seconds=60)
    assert (await outcomes(counted), len(counted)) == (2, 2)
    assert await counted.take("acme", [part("a", record(), record())], first=True) == []
    await counted.flush()
    assert await counted.take("acme", more, first=True) == more


async def test_a_store_that_is_away_costs_nothing_but_time(store: DocumentStore, clock: ManualClock) -> None:
    """What waits goes on waiting, and is stored when the store is back."""
    hooked = Hooked(store)
    counted = behind(hooked, clock, interval_s=0.001)
    tried = asyncio.Event()

    async def away(_: Sequence[Key]) -> None:
        tried.set()
        raise AWAY

    hooked.before = away
    running = asyncio.create_task(counted.run())
    await counted.take("acme", [part("a")], first=True)
    await tried.wait()
    assert (await outcomes(counted), len(counted), running.done()) == (1, 1, False)
    hooked.before = None
    async with asyncio.timeout(10):
        while len(counted):  # noqa: ASYNC110 - the loop announces nothing
            await asyncio.sleep(0.01)
    running.cancel()
    assert await outcomes(behind(store, clock)) == 1


async def test_one_tenants_trouble_does_not_hold_up_others(store: DocumentStore, clock: ManualClock) -> None:
    """Theirs are stored; and what the store can never take is given up aloud, not repeated for ever."""
    refused: list[int] = []
    hooked = Hooked(store)
    counted = behind(hooked, clock, on_refused=refused.append)
    trouble = AWAY

    async def fail_for_acme(keys: Sequence[Key]) -> None:
        if keys[0].tenant == "acme":
            raise trouble

    hooked.before = fail_for_acme
    await counted.take("acme", [part("a")], first=True)
    await counted.take("umbrella", [part("a", tenant="umbrella")], first=True)
    with pytest.raises(ServiceError):
        await counted.flush()
    assert (await outcomes(behind(store, clock), "umbrella"), len(counted), refused) == (1, 1, [])
    trouble = DAMAGED
    await counted.flush()
    assert (len(counted), refused) == (0, [1])


async def test_much_is_not_made_to_wait(store: DocumentStore, clock: ManualClock) -> None:
    """When a quarter of what may wait does, it is stored before the interval ends."""
    counted = behind(store, clock, most=40, interval_s=3600)
    running = asyncio.create_task(counted.run())
    for number in range(9):
        await counted.take("acme", [part(str(number))], first=True)
        await asyncio.sleep(0)
    assert len(counted) == 9
    await counted.take("acme", [part("the tenth")], first=True)
    async with asyncio.timeout(10):
        while len(counted):  # noqa: ASYNC110 - the loop announces nothing
            await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_any_batch_fits(store: DocumentStore, clock: ManualClock) -> None:
    """Thousands of versions, content types and grades are stored within a commit's and a list's limits."""
    counted = behind(store, clock, most=10_000)
    wanted = 0
    for batch in range(12):
        records = [
            record(version_of(100 * batch + number), f"type_{number}", score=number / 100)
            for number in range(100)
        ]
        await counted.take("acme", [part(str(batch), *records)], first=True)
        wanted += len(records)
    await counted.flush()
    assert len(await stored(store)) == wanted
    assert [each.outcomes for each in await counted.get("acme", list(map(version_of, range(1200))))] == (
        [1] * 1200
    )


def test_an_account_remembers_what_one_flush_can_book() -> None:
    """Or a page of unknown fate could push out its own mark."""
    assert _MOST_PAGES * (MOST_LISTED + 1) <= REMEMBERED


async def test_a_job_costs_few_operations(store: DocumentStore, clock: ManualClock) -> None:
    """1,000 outcomes of eight versions in 104 batches over 20 s: at most 60 writes and 40 reads."""
    spent: Counter[Operation] = Counter()
    metered = MeteredStore(store, SCHEMA, count=lambda _, operation, n: spent.update({operation: n}))
    counted = behind(metered, clock)
    for second in range(20):
        for batch in range(5):
            records = [record(version_of(number % 8), f"type_{number % 8}") for number in range(10)]
            await counted.take("acme", [part(f"{second}.{batch}", *records)], first=True)
        if second % 5 == 4:
            await counted.flush()
    assert spent[Operation.WRITE] <= 60
    assert spent[Operation.READ] <= 40


async def test_what_was_stored_is_told_with_what_waits(store: DocumentStore, clock: ManualClock) -> None:
    """Estimates learn the sums as they are, not as they were when the flush began."""
    told: list[int] = []
    hooked = Hooked(store)
    counted = behind(hooked, clock)
    counted.listen(lambda _, sums: told.append(sums[FAQ].outcomes))

    async def meanwhile(_: Sequence[Key]) -> None:
        await counted.take("acme", [part("b")], first=True)

    hooked.before = meanwhile
    await counted.take("acme", [part("a")], first=True)
    await counted.flush()
    assert told == [2]
