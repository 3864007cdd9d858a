"""A lost lease goes to whoever has waited longest and wants it; nobody else is disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.holding.rules import Kind, Mode, Selector, TenantRules
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome
from content_cache.leasing.waiting import Claim, Decided
from content_cache.live import LiveCache, Turn
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]
K, L = Address("a", "k"), Address("a", "l")


@pytest.fixture
def live(cache: ContentCache, clock: ManualClock) -> LiveCache:
    """An open live cache."""
    made = LiveCache(cache, clock=clock, changed=lambda address, before: None)
    made.open()
    return made


def turn_of(live: LiveCache) -> Turn:
    """Return turns nobody measures."""
    return live.operation(lambda seconds: None)


def lease(live: LiveCache, address: Address = K, holder: str = "first") -> Lease:
    """Lease a key."""
    with turn_of(live) as cache:
        found = cache.acquire(address, holder=holder, epoch=0, ttl_s=30)
    assert isinstance(found, Lease)
    return found


def waiting(live: LiveCache, holder: str, *addresses: Address) -> AsyncGenerator[list[Decided], None]:
    """Wait under a name; without one nothing is taken over."""
    claim = Claim(holder, 0, 30.0) if holder else None
    return live.decisions(turn_of(live), addresses or (K,), claim)


async def _next(decisions: AsyncGenerator[list[Decided], None]) -> list[Decided]:
    return await anext(decisions)


async def begun(decisions: AsyncGenerator[list[Decided], None]) -> asyncio.Task[list[Decided]]:
    """Wait for the first news in the background."""
    task = asyncio.ensure_future(_next(decisions))
    await asyncio.sleep(0)
    return task


async def test_first_come_first_served(live: LiveCache, make_entry: MakeEntry) -> None:
    """Of many who wait each lost lease goes to the next in line, and the fill wakes all who are left."""
    token = lease(live).token
    lines = [waiting(live, f"h{number}") for number in range(50)]
    tasks = [await begun(each) for each in lines]
    for number in range(3):
        with turn_of(live) as cache:
            cache.release(K, token)
        await asyncio.sleep(0)
        assert [each.done() for each in tasks] == [True] * (number + 1) + [False] * (49 - number)
        ((address, heir),) = tasks[number].result()
        assert isinstance(heir, Lease)
        assert (address, heir.holder) == (K, f"h{number}")
        token = heir.token
    entry = make_entry()
    with turn_of(live) as cache:
        assert cache.fill(entry, token) is FillOutcome.FILLED
    assert [each.result() for each in tasks[3:] if await each] == [[(K, entry)]] * 47
    for each in lines:
        await each.aclose()
    assert len(live.waiting) == 0
    live.close()


async def test_the_dead_are_succeeded_by_the_alarm(live: LiveCache, clock: ManualClock) -> None:
    """When a holder's time runs out the heir has the lease before anyone who comes in that very moment."""
    lease(live)
    line = waiting(live, "heir")
    task = await begun(line)
    clock.advance(30)
    with turn_of(live) as cache:
        late = cache.acquire(K, holder="late", epoch=0, ttl_s=30)
    assert isinstance(late, Lease)
    assert late.holder == "heir"
    assert await task == [(K, late)]
    await line.aclose()
    live.close()


async def test_who_waits_without_a_name_is_told_of_the_loss(live: LiveCache) -> None:
    """Without an heir all are told; with one, those without a name wait for it like the others."""
    token = lease(live).token
    plain = waiting(live, "")
    told = await begun(plain)
    with turn_of(live) as cache:
        cache.release(K, token)
    assert await told == [(K, None)]
    token = lease(live).token
    second, heir = waiting(live, ""), waiting(live, "heir")
    tasks = [await begun(second), await begun(heir)]
    with turn_of(live) as cache:
        cache.release(K, token)
    await asyncio.sleep(0)
    assert [each.done() for each in tasks] == [False, True]
    await heir.aclose()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    live.close()


async def test_a_lease_that_could_not_be_delivered_goes_on(live: LiveCache, cache: ContentCache) -> None:
    """An heir that leaves before it has its lease leaves it to the next; the last one leaves nothing held."""
    token = lease(live).token
    first, second = waiting(live, "first heir"), waiting(live, "second heir")
    task, other = await begun(first), await begun(second)
    with turn_of(live) as turn:
        turn.release(K, token)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert [other.done(), cache.lease(K) is not None] == [True, True]
    await second.aclose()
    assert cache.lease(K) is None
    live.close()


async def test_a_cut_text_reaches_those_who_wait_and_is_not_kept(
    live: LiveCache, cache: ContentCache, make_entry: MakeEntry
) -> None:
    """Passed on, content wakes its waiters once; repeated it is recognised; a stranger's reaches nobody."""
    token = lease(live).token
    line = waiting(live, "")
    task = await begun(line)
    entry = make_entry()
    with turn_of(live) as turn:
        assert turn.fill(entry, "strange", keep=False) is FillOutcome.PASSED_ON
    await asyncio.sleep(0)
    assert not task.done()
    with turn_of(live) as turn:
        outcomes = [turn.fill(entry, token, keep=False) for _ in range(2)]
    assert outcomes == [FillOutcome.PASSED_ON] * 2
    assert await task == [(K, entry)]
    assert (len(cache), cache.lease(K)) == (0, None)
    await line.aclose()
    live.close()


async def test_a_purged_fill_hands_the_key_on(
    live: LiveCache, cache: ContentCache, make_entry: MakeEntry
) -> None:
    """Who waited for content that was purged under way generates it anew, in the era after the purge."""
    token = lease(live).token
    line = waiting(live, "heir")
    task = await begun(line)
    cache.rules.learn("a", TenantRules().purged(Selector(Kind.ALL), Mode.DELETE))
    with turn_of(live) as turn:
        assert turn.fill(make_entry(), token) is FillOutcome.PURGED
    ((_, heir),) = await task
    assert isinstance(heir, Lease)
    with turn_of(live) as turn:
        assert turn.fill(make_entry(era=1), heir.token) is FillOutcome.FILLED
    await line.aclose()
    live.close()
