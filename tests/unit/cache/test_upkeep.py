"""Upkeep works in slices that end in time, and full collections leave the entries alone."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Entry
from content_cache.live import LiveCache
from content_cache.memory import garbage
from content_cache.slices import Slices
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]


class TickingClock:
    """A clock on which every look takes a millisecond."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def now(self) -> datetime:
        """Return the wall clock's time."""
        return self.clock.now()

    def monotonic(self) -> float:
        """Return the seconds, after a millisecond."""
        self.clock.advance(0.001)
        return self.clock.monotonic()


async def test_work_is_done_in_slices_of_time(clock: ManualClock, cache: ContentCache) -> None:
    """A slice ends when its time is up, says that there is more, and `run` goes on until there is not."""
    live = LiveCache(cache, clock=clock, changed=lambda _address, _before: None)
    live.open()
    slices = Slices(live.operation(lambda _seconds: None), TickingClock(clock))
    left, steps = 1000, 0

    def work(_cache: ContentCache, limit: int) -> int:
        nonlocal left, steps
        steps += 1
        done = min(left, limit)
        left -= done
        return done

    assert slices.slice(work)
    assert 1 <= steps <= 4
    assert left > 700
    await slices.run(work)
    assert left == 0
    assert not slices.slice(work)


@pytest.fixture
def frozen() -> Iterator[None]:
    """Keep collections short in this test alone."""
    garbage.keep_collections_short()
    yield
    garbage.stop()


class Link:
    """What can refer to itself."""

    other: Link


@pytest.mark.usefixtures("frozen")
def test_survivors_are_not_looked_at_again(make_entry: MakeEntry) -> None:
    """What lives through a full collection is frozen, still freed at once, and later ones look at little."""
    entries = [make_entry(f"k{number}") for number in range(20_000)]
    gc.collect()
    frozen = gc.get_freeze_count()
    assert frozen >= 2 * len(entries)
    assert sum(len(gc.get_objects(generation)) for generation in range(3)) < len(entries)
    entries.clear()
    assert gc.get_freeze_count() <= frozen - 40_000


@pytest.mark.usefixtures("frozen")
def test_a_thaw_finds_cycles_that_were_frozen() -> None:
    """A cycle frozen alive is missed by the next collection and found by a thaw; all is frozen after it."""
    link = Link()
    link.other = link
    gc.collect()
    del link
    assert not any(isinstance(each, Link) for each in gc.get_objects())
    gc.collect()
    before = gc.get_freeze_count()
    assert garbage.thaw() >= 1
    assert 0 < gc.get_freeze_count() < before


def test_stopping_leaves_no_trace() -> None:
    """After `stop` full collections freeze nothing."""
    garbage.keep_collections_short()
    garbage.keep_collections_short()
    garbage.stop()
    gc.collect()
    assert gc.get_freeze_count() == 0
