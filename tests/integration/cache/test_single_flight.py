"""Many callers, one generator: over real connections, with leases that really run out."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from contentfactory.cache.v1 import cache_pb2 as pb


def acquire(holder: str, key: str = "k", lease_s: int = 30) -> pb.BatchAcquireRequest:
    """Make a request for one key."""
    request = pb.BatchAcquireRequest(holder=holder, requests=[{"key": key}])  # type: ignore[list-item]  # protobuf takes dictionaries
    request.lease_ttl.seconds = lease_s
    return request


async def get_or_wait(stub: Any, holder: str, counts: Counter[int]) -> bytes:
    """Get the content as a worker does: hit, generate or wait, until there is something."""
    while True:
        value = (await stub.BatchAcquire(acquire(holder))).results[0].value
        counts[value.outcome] += 1
        if value.outcome == pb.ACQUIRE_OUTCOME_HIT:
            return bytes(value.entry.value)
        if value.outcome == pb.ACQUIRE_OUTCOME_LEASED:
            await asyncio.sleep(0.2)
            fill = pb.BatchFillRequest.FillRequest(key="k", lease_token=value.lease.token)
            fill.content.value = b"made"
            await stub.BatchFill(pb.BatchFillRequest(requests=[fill]))
            return b"made"
        async for message in stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k"])):
            for entry in message.entries:
                counts[100 + entry.outcome] += 1
                if entry.outcome == pb.AWAIT_OUTCOME_FILLED:
                    return bytes(entry.entry.value)


async def test_a_thousand_callers_one_lease(running: Any) -> None:
    """Of 1,000 concurrent acquirers one generates; all get its content; nobody asks twice."""
    counts: Counter[int] = Counter()
    made = await asyncio.gather(*(get_or_wait(running.stub, f"h{n}", counts) for n in range(1000)))
    assert set(made) == {b"made"}
    assert counts[pb.ACQUIRE_OUTCOME_LEASED] == 1
    acquired = sum(count for outcome, count in counts.items() if outcome < 100)
    assert acquired == 1000


async def test_a_dead_holder_has_exactly_one_successor(running: Any) -> None:
    """When the holder dies its lease runs out, all waiters are told, and one of them goes on."""
    dead = (await running.stub.BatchAcquire(acquire("dead", lease_s=1))).results[0].value
    assert dead.outcome == pb.ACQUIRE_OUTCOME_LEASED
    counts: Counter[int] = Counter()
    made = await asyncio.gather(*(get_or_wait(running.stub, f"h{n}", counts) for n in range(50)))
    assert set(made) == {b"made"}
    assert counts[pb.ACQUIRE_OUTCOME_LEASED] == 1
    assert counts[100 + pb.AWAIT_OUTCOME_LEASE_LOST] == 50


async def test_a_caller_that_hangs_up_leaves_no_wait(running: Any) -> None:
    """A cancelled stream frees its place, and the key's lease and other waiters are unharmed."""
    lease = (await running.stub.BatchAcquire(acquire("h"))).results[0].value.lease
    gone = running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k", "free"]))
    assert (await gone.read()).entries[0].key == "free"
    stays = running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k", "free"]))
    await stays.read()
    gone.cancel()
    fill = pb.BatchFillRequest.FillRequest(key="k", lease_token=lease.token)
    fill.content.value = b"made"
    await running.stub.BatchFill(pb.BatchFillRequest(requests=[fill]))
    assert (await stays.read()).entries[0].outcome == pb.AWAIT_OUTCOME_FILLED


async def test_draining_tells_waiters(serve: Any) -> None:
    """A server that stops does not leave its waiters hanging."""
    running = await serve()
    await running.stub.BatchAcquire(acquire("h"))
    waiting = running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k", "free"]))
    await waiting.read()
    stopping = asyncio.create_task(running.stop())
    code = await waiting.code()
    assert code.name == "UNAVAILABLE"
    await stopping
