"""Rings run together, are not lost while the store is away, and wake whoever listens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest
from parallel_processor.repository import SCHEMA, BellRepository, schema
from parallel_processor.running import bell as module
from parallel_processor.running.bell import Bell
from service_common.clock import ManualClock
from service_common.errors import unavailable
from service_common.storage import DocumentStore, open_store

from tests.unit.processor.running.fakes import settle, until


class Stored:
    """Counts rings; may be out of reach."""

    def __init__(self) -> None:
        self.rings = 0
        self.tries = 0
        self.away = False

    async def ring(self) -> None:
        """Count a ring."""
        self.tries += 1
        if self.away:
            raise unavailable("AWAY", "away")
        self.rings += 1


def bell_of(stored: object) -> Bell:
    """Make a bell."""
    return Bell(cast("Any", stored), rng=random.Random(1))


@contextmanager
def running(*work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Let it go on meanwhile."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def test_the_first_ring_is_at_once_and_those_that_follow_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many jobs are started, there is one write per interval, and one after the last of them."""
    paused: asyncio.Queue[Callable[[], None]] = asyncio.Queue()

    async def pause(_: float) -> None:
        over = asyncio.Event()
        paused.put_nowait(over.set)
        await over.wait()

    monkeypatch.setattr(asyncio, "sleep", pause)
    stored = Stored()
    bell = bell_of(stored)
    with running(bell.keep_ringing()):
        for _ in range(5):
            bell.ring()
        end_first = await asyncio.wait_for(paused.get(), 10)
        assert stored.rings == 1
        for _ in range(5):
            bell.ring()
        end_first()
        end_second = await asyncio.wait_for(paused.get(), 10)
        assert stored.rings == 2
        end_second()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await paused.get()
        assert stored.rings == 2


async def test_a_ring_that_failed_is_rung_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is away for a while; the ring comes when it is back, once."""
    monkeypatch.setattr(module, "_RING_EVERY_S", 0.001)
    stored = Stored()
    stored.away = True
    bell = bell_of(stored)
    with running(bell.keep_ringing()):
        bell.ring()
        await until(lambda: stored.tries >= 3)
        stored.away = False
        await until(lambda: stored.rings == 1)
        tries = stored.tries
        await asyncio.sleep(0.01)
        assert stored.tries == tries


async def test_what_is_due_is_rung_before_the_end() -> None:
    """A processor that stops does not keep to itself what it handed back last."""
    stored = Stored()
    bell = bell_of(stored)
    await bell.flushed()
    assert stored.rings == 0
    bell.ring()
    await bell.flushed()
    await bell.flushed()
    assert stored.rings == 1


@pytest.fixture
async def store() -> AsyncIterator[DocumentStore]:
    """An empty store."""
    opened = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield opened
    await opened.close()


async def test_everybody_who_listens_is_woken(store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring wakes the other processors and the one that rang; a bell nobody listens with is not heard."""
    monkeypatch.setattr(module, "_SPREAD_S", 0.0)
    woken = [0, 0]
    bells = [bell_of(BellRepository(store, worker=f"w{number}")) for number in range(2)]

    def wake(number: int) -> None:
        woken[number] += 1

    assert not bells[1].is_heard
    listening = [bell.listen(partial(wake, number)) for number, bell in enumerate(bells)]
    with running(*listening, bells[0].keep_ringing()):
        await until(lambda: min(woken) == 1)
        assert bells[1].is_heard
        bells[0].ring()
        await until(lambda: min(woken) == 2)
        found = await store.get(schema.BELL_KEY)
        assert found is not None
        assert found.data == {"rung_by": "w0"}
    await settle()
    assert not bells[1].is_heard
