"""Slots: never more than there are, the most urgent first, and none lost to a cancellation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.job import Priority
from parallel_processor.queueing.slots import Rank, Slots
from parallel_processor.queueing.tenant_flow import Turn

from tests.unit.processor.samples import NOW


def rank(priority: Priority = Priority.NORMAL, *, minute: int = 0) -> Rank:
    """Return the rank of a job that was started in this minute."""
    since = (NOW + timedelta(minutes=minute)).timestamp()
    return Rank(Priority(priority), since, "acme", f"{int(priority)}-{minute}")


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class Holder:
    """A task that stands in line, notes its turn, prepares, and holds the slot until told."""

    def __init__(
        self, slots: Slots, order: list[str], name: str, where: Rank, *, prepared: bool = True
    ) -> None:
        self.prepared, self.release = asyncio.Event(), asyncio.Event()
        if prepared:
            self.prepared.set()
        self.preparing = self.ready = self.holding = False
        self.task = asyncio.create_task(self._run(slots, order, name, where))

    async def _run(self, slots: Slots, order: list[str], name: str, where: Rank) -> None:
        turn = await slots.wait(slots.join(where))
        try:
            self.preparing = True
            await self.prepared.wait()
            self.preparing, self.ready = False, True
            await slots.begin()
            self.ready, self.holding = False, True
            order.append(name)
            await self.release.wait()
        finally:
            slots.give_back(turn, begun=self.holding)
            self.preparing = self.ready = self.holding = False


async def test_the_most_urgent_goes_next_and_equal_jobs_take_turns() -> None:
    """Priority decides; jobs of one priority take turns, the earlier first; within one, arrival decides."""
    slots, order = Slots(1), list[str]()
    waiting = {
        "first": rank(),
        "low": rank(Priority.LOW),
        "later job": rank(minute=5),
        "normal": rank(),
        "normal too": rank(),
        "urgent": rank(Priority.URGENT, minute=9),
    }
    holders = [Holder(slots, order, name, where) for name, where in waiting.items()]
    for each in holders:
        await settle()
        each.release.set()
    await asyncio.gather(*(each.task for each in holders))
    assert order == ["first", "urgent", "later job", "normal", "normal too", "low"]
    assert slots.active == 0


async def test_waiting_is_counted_by_priority() -> None:
    """Those in line are counted, those that hold a slot or gave up are not."""
    slots = Slots(1)
    holders = [Holder(slots, [], str(each), rank(each)) for each in (2, 4, 4, 1)]  # type: ignore[arg-type]  # priorities by number
    await settle()
    holders[3].task.cancel()
    await settle()
    assert (slots.waiting, dict(slots.waiting_by_priority())) == (2, {Priority.URGENT: 2})
    for each in holders:
        each.release.set()
    await asyncio.gather(*(each.task for each in holders), return_exceptions=True)


async def test_a_slot_that_comes_free_while_its_next_holder_is_cancelled_goes_to_the_one_after() -> None:
    """In the moment between a cancellation and its being noticed nothing is granted to who is gone."""
    slots, order = Slots(1), list[str]()
    holders = [Holder(slots, order, name, rank()) for name in ("first", "gone", "next")]
    await settle()
    holders[1].task.cancel()
    slots.limit = 2
    await settle()
    assert order == ["first", "next"]
    assert (slots.active, slots.waiting) == (2, 0)
    for each in holders:
        each.release.set()
    await asyncio.gather(*(each.task for each in holders), return_exceptions=True)
    assert slots.active == 0


async def test_a_lower_limit_is_kept_as_slots_are_given_back() -> None:
    """Nobody is interrupted, and nobody new begins before there are fewer than the limit."""
    slots, order = Slots(3), list[str]()
    holders = [Holder(slots, order, str(number), rank()) for number in range(5)]
    await settle()
    slots.limit = 1
    for number in range(3):
        holders[number].release.set()
        await settle()
        assert slots.active == max(1, 2 - number)
    assert order == ["0", "1", "2", "3"]
    for each in holders:
        each.release.set()
    await asyncio.gather(*(each.task for each in holders))


async def test_what_a_call_took_is_charged_and_not_what_it_might_have_taken() -> None:
    """Of two tenants that ask for as much, the one whose calls take little has more of them."""
    slots, calls = Slots(1), Counter[str]()

    async def work(tenant: str, used: int) -> None:
        for _ in range(100):
            turn = await slots.wait(slots.join(Rank.of(Priority.NORMAL, NOW, tenant=tenant), 1_000))
            calls[tenant] += 1
            await asyncio.sleep(0)
            if calls.total() == 110:
                frugal.append(calls["frugal"])
            slots.give_back(turn, used=used)

    frugal: list[int] = []
    tasks = [asyncio.create_task(work(*each)) for each in [("lavish", 1_000), ("frugal", 100)] for _ in "ab"]
    await asyncio.gather(*tasks)
    assert frugal[0] >= 90


async def test_calls_are_prepared_ahead_and_made_in_the_order_in_which_they_are_ready() -> None:
    """Beyond the limit a turn is given to prepare; a call that is ready waits for one that ends."""
    slots, order = Slots(1), list[str]()
    slots.ahead = 2
    holders = [Holder(slots, order, name, rank(), prepared=name == "a") for name in "abcd"]
    await settle()
    assert (slots.active, slots.calling, slots.waiting) == (3, 1, 1)
    for each in (holders[2], holders[1]):
        each.prepared.set()
        await settle()
    assert (order, slots.calling) == (["a"], 1)
    for each in holders:
        each.prepared.set()
        each.release.set()
    await asyncio.gather(*(each.task for each in holders))
    assert order == ["a", "c", "b", "d"]
    assert (slots.active, slots.calling) == (0, 0)


async def test_a_call_cancelled_in_the_moment_it_may_begin_gives_its_place_back() -> None:
    """What was admitted and never ran is no call: its place goes to the next that is ready."""
    slots, order = Slots(1), list[str]()
    slots.ahead = 2
    holders = [Holder(slots, order, name, rank()) for name in "abc"]
    await settle()
    slots.limit = 2
    holders[1].task.cancel()
    await settle()
    assert (order, slots.calling, slots.active) == (["a", "c"], 2, 2)
    for each in holders:
        each.release.set()
    await asyncio.gather(*(each.task for each in holders), return_exceptions=True)
    assert (slots.calling, slots.active) == (0, 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "prepare", "leave", "cancel", "limit", "ahead", "wait"]),
        st.integers(0, 30),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=200)
@given(limit=st.integers(1, 4), steps=STEPS)
def test_no_history_of_cancellations_leaks_a_slot(limit: int, steps: list[tuple[str, int]]) -> None:
    """Counts are true, nobody waits beside a free place, in line or ready, and at the end all are free."""
    asyncio.run(_live(Slots(limit), steps))


async def _live(slots: Slots, steps: list[tuple[str, int]]) -> None:
    holders: list[Holder] = []
    for action, number in steps:
        if action == "come":
            holders.append(Holder(slots, [], "x", rank(Priority(1 + number % 4)), prepared=bool(number % 3)))
        elif action == "limit":
            slots.limit = number % 5
        elif action == "ahead":
            slots.ahead = number % 3
        elif action == "wait":
            await settle()
            _check(slots, holders)
        elif holders:
            each = holders[number % len(holders)]
            deeds: dict[str, Callable[[], object]]
            deeds = {"prepare": each.prepared.set, "leave": each.release.set, "cancel": each.task.cancel}
            deeds[action]()
    slots.limit = max(1, slots.limit)
    for each in holders:
        each.prepared.set()
        each.release.set()
    await asyncio.gather(*(each.task for each in holders), return_exceptions=True)
    assert (slots.active, slots.calling, slots.waiting) == (0, 0, 0)


def _check(slots: Slots, holders: list[Holder]) -> None:
    assert slots.calling == sum(each.holding for each in holders)
    assert slots.active == sum(each.preparing or each.ready or each.holding for each in holders)
    assert slots.calling >= slots.limit or not any(each.ready for each in holders)
    assert slots.active >= slots.limit or not slots.waiting


@settings(deadline=None, max_examples=100)
@given(limit=st.integers(1, 4), ahead=st.integers(0, 3), steps=STEPS)
def test_the_limit_holds_for_calls_and_with_those_ahead_for_turns(
    limit: int, ahead: int, steps: list[tuple[str, int]]
) -> None:
    """While neither is changed, never more call than the limit, nor have a turn than are let ahead of it."""
    fixed = [each for each in steps if each[0] not in ("limit", "ahead")]

    async def live() -> None:
        slots = Slots(limit)
        slots.ahead = ahead
        most = [0, 0]
        begin, wait = slots.begin, slots.wait

        async def counted_begin() -> None:
            await begin()
            most[0] = max(most[0], slots.calling)

        async def counted_wait(turn: Turn) -> Turn:
            await wait(turn)
            most[1] = max(most[1], slots.active)
            return turn

        slots.begin, slots.wait = counted_begin, counted_wait  # type: ignore[method-assign]  # watched
        await _live(slots, fixed)
        assert most[0] <= limit
        assert most[1] <= limit + ahead

    asyncio.run(live())
