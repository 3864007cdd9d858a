"""Batching: one call at once when idle, growing batches under load, each caller gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from parallel_processor.running.batching import Batcher
from service_common.errors import unavailable


class Wire:
    """Records batches; each waits until it is let through."""

    def __init__(self, *, open_from_start: bool = True) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate = asyncio.Event()
        if open_from_start:
            self.gate.set()
        self.failing: Exception | None = None
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, lane: str, requests: list[int]) -> Sequence[int | Exception]:
        """Answer each request with its tenfold; 13 gets an error of its own."""
        self.batches.append((lane, requests))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.failing is not None:
            raise self.failing
        return [ValueError(str(each)) if each == 13 else 10 * each for each in requests]


def batcher(wire: Wire, **limits: float) -> Batcher[str, int, int]:
    """Return a batcher that gathers without lingering."""
    return Batcher[str, int, int](wire.send, **{"linger_s": 0.0, **limits})  # type: ignore[arg-type]  # counts are whole


async def test_what_arrives_together_travels_together_and_each_gets_its_own() -> None:
    """Requests of one turn of the loop are one batch, answered in order."""
    wire = Wire()
    one = batcher(wire)
    answers = await asyncio.gather(*(one.submit("a", n) for n in range(5)))
    assert answers == [0, 10, 20, 30, 40]
    assert wire.batches == [("a", [0, 1, 2, 3, 4])]


async def test_lanes_are_never_mixed() -> None:
    """Requests of two lanes are two batches."""
    wire = Wire()
    one = batcher(wire)
    await asyncio.gather(one.submit("a", 1), one.submit("b", 2), one.submit("a", 3))
    assert sorted(wire.batches) == [("a", [1, 3]), ("b", [2])]


async def test_under_load_batches_grow_and_stay_within_the_limits() -> None:
    """While two batches are under way the others gather, and no batch is larger than allowed."""
    wire = Wire(open_from_start=False)
    one = batcher(wire, max_batch=3, max_under_way=2)
    callers = [asyncio.create_task(one.submit("a", n)) for n in range(10)]
    for _ in range(5):
        await asyncio.sleep(0)
    wire.gate.set()
    assert await asyncio.gather(*callers) == [10 * n for n in range(10)]
    assert max(len(requests) for _, requests in wire.batches) == 3
    assert wire.most_under_way == 2
    assert sorted(each for _, requests in wire.batches for each in requests) == list(range(10))


async def test_an_error_among_the_results_is_its_callers_alone() -> None:
    """One bad request does not harm its neighbours."""
    one = batcher(Wire())
    answers = await asyncio.gather(*(one.submit("a", n) for n in (12, 13, 14)), return_exceptions=True)
    assert answers[0] == 120
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 140


async def test_a_failed_call_fails_its_batch_and_not_the_next() -> None:
    """Everyone of the batch gets the error; the lane goes on."""
    wire = Wire()
    one = batcher(wire)
    wire.failing = unavailable("AWAY", "away")
    answers = await asyncio.gather(one.submit("a", 1), one.submit("a", 2), return_exceptions=True)
    assert [getattr(each, "reason", None) for each in answers] == ["AWAY", "AWAY"]
    wire.failing = None
    assert await one.submit("a", 3) == 30


async def test_a_caller_that_left_is_not_sent() -> None:
    """A request whose caller was cancelled before its batch went out does not travel."""
    wire = Wire()
    one = batcher(wire)
    gone = asyncio.create_task(one.submit("a", 1))
    stays = asyncio.create_task(one.submit("a", 2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 20
    assert wire.batches == [("a", [2])]


async def test_a_caller_that_leaves_under_way_harms_nobody() -> None:
    """A cancellation while the batch is under way leaves the answers of the others."""
    wire = Wire(open_from_start=False)
    one = batcher(wire)
    gone, stays = (asyncio.create_task(one.submit("a", n)) for n in (1, 2))
    for _ in range(3):
        await asyncio.sleep(0)
    gone.cancel()
    wire.gate.set()
    assert await stays == 20
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_idle_lane_leaves_nothing_behind() -> None:
    """Lanes that are done with are forgotten, so that tenants of the past cost nothing."""
    one = batcher(Wire())
    for n in range(100):
        await one.submit(f"tenant {n}", 1)
    await asyncio.sleep(0)
    assert not one._lanes


async def test_a_patient_lane_gathers_after_each_batch_and_who_flushes_does_not_wait() -> None:
    """The first goes at once; what comes while it is under way and after it goes together, when it is due."""
    wire = Wire(open_from_start=False)
    one = batcher(wire, linger_s=3_600, patient=True)
    answers = [one.post("a", 1)]
    await asyncio.sleep(0)
    answers.append(one.post("a", 2))
    wire.gate.set()
    assert await answers[0] == 10
    answers.append(one.post("a", 3))
    await asyncio.sleep(0.01)
    assert wire.batches == [("a", [1])]
    await one.flushed()
    assert wire.batches == [("a", [1]), ("a", [2, 3])]
    assert [each.result() for each in answers] == [10, 20, 30]
    assert await one.submit("a", 4) == 40


async def test_full_batches_of_a_patient_lane_wait_for_nothing() -> None:
    """While one batch is under way a full one goes beside it; one that is not full does not."""
    wire = Wire(open_from_start=False)
    one = batcher(wire, linger_s=3_600, patient=True, max_batch=3)
    one.post("a", 1)
    await asyncio.sleep(0)
    for number in range(2, 6):
        one.post("a", number)
        await asyncio.sleep(0)
    assert wire.batches == [("a", [1]), ("a", [2, 3, 4])]
    wire.gate.set()
    await one.flushed()
    assert wire.batches[2:] == [("a", [5])]
