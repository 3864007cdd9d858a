"""Waiters are told the moment a key is decided, once, and a waiter that leaves leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.waiting import Decided
from content_cache.live import LiveCache, Turn
from service_common.clock import ManualClock
from service_common.errors import ServiceError

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


def lease(live: LiveCache, address: Address, ttl_s: float = 30) -> Lease:
    """Lease a key to some holder."""
    with turn_of(live) as cache:
        found = cache.acquire(address, holder="h", epoch=0, ttl_s=ttl_s)
    assert isinstance(found, Lease)
    return found


async def wait_for(live: LiveCache, *addresses: Address) -> list[Decided]:
    """Wait for keys to the end."""
    return [each async for decided in live.decisions(turn_of(live), addresses) for each in decided]


async def test_decided_keys_are_told_at_once_and_others_when_filled(
    live: LiveCache, make_entry: MakeEntry
) -> None:
    """A key without a lease is lost at once; a leased one is told with the entry that fills it."""
    token = lease(live, K).token
    waiting = asyncio.create_task(wait_for(live, K, L))
    await asyncio.sleep(0)
    assert not waiting.done()
    entry = make_entry()
    with turn_of(live) as cache:
        cache.fill(entry, token)
    assert await waiting == [(L, None), (K, entry)]
    assert len(live.waiting) == 0
    live.close()


async def test_many_waiters_are_all_told_once(live: LiveCache) -> None:
    """A release tells every waiter of the key, each once."""
    token = lease(live, K).token
    waiting = [asyncio.create_task(wait_for(live, K)) for _ in range(100)]
    await asyncio.sleep(0)
    with turn_of(live) as cache:
        cache.release(K, token)
    assert await asyncio.gather(*waiting) == [[(K, None)]] * 100
    live.close()


async def test_the_alarm_ends_a_lease_with_nobody_calling(live: LiveCache, clock: ManualClock) -> None:
    """A waiter is told of an expiry by the alarm alone."""
    lease(live, K, ttl_s=0.01)
    waiting = asyncio.create_task(wait_for(live, K))
    await asyncio.sleep(0)
    clock.advance(0.01)
    assert await asyncio.wait_for(waiting, 5) == [(K, None)]
    live.close()


async def test_an_inherited_lease_keeps_its_waiters(live: LiveCache, make_entry: MakeEntry) -> None:
    """Waiters go on waiting when a restarted holder inherits, and get what it fills."""
    lease(live, K)
    waiting = asyncio.create_task(wait_for(live, K))
    await asyncio.sleep(0)
    with turn_of(live) as cache:
        inherited = cache.acquire(K, holder="h", epoch=1, ttl_s=30)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert isinstance(inherited, Lease)
    entry = make_entry()
    with turn_of(live) as cache:
        cache.fill(entry, inherited.token)
    assert await waiting == [(K, entry)]
    live.close()


async def test_a_cancelled_waiter_leaves_nothing(live: LiveCache, make_entry: MakeEntry) -> None:
    """Cancelling a waiter forgets it and leaves others and the lease alone."""
    token = lease(live, K).token
    lease(live, L)
    gone = asyncio.create_task(wait_for(live, K, L))
    stays = asyncio.create_task(wait_for(live, K))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert len(live.waiting) == 1
    entry = make_entry()
    with turn_of(live) as cache:
        cache.fill(entry, token)
    assert await stays == [(K, entry)]
    assert len(live.waiting) == 0
    live.close()


async def test_closing_the_room_ends_waits_and_admits_no_more(live: LiveCache) -> None:
    """A server about to go tells its waiters to ask elsewhere."""
    lease(live, K)
    waiting = asyncio.create_task(wait_for(live, K))
    await asyncio.sleep(0)
    live.waiting.close()
    with pytest.raises(ServiceError) as first:
        await waiting
    with pytest.raises(ServiceError) as second:
        await wait_for(live, K)
    assert first.value.reason == second.value.reason == "DRAINING"
    assert len(live.waiting) == 0
    live.close()


async def test_nothing_is_answered_while_loading(cache: ContentCache, clock: ManualClock) -> None:
    """Until stored content is loaded every turn is UNAVAILABLE: nothing is leased that is about to appear."""
    live = LiveCache(cache, clock=clock, changed=lambda address, before: None)
    with pytest.raises(ServiceError) as refused, turn_of(live):
        pass
    assert refused.value.reason == "CACHE_LOADING"
