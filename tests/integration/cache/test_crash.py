"""What a kill -9 may lose and what it may not: entries after the window come back, purged ones never."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc

from tests.integration.cache.test_purge import filled, leased
from tests.integration.cache.test_restart import confirmed, started
from tests.support.backends import Database, on_durable_stores

pytestmark = on_durable_stores
_ENTRIES = 3000
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Process:
    """A cache in a process of its own, and a caller of it."""

    popen: subprocess.Popen[str]
    stub: Any
    metrics: str

    def kill(self) -> None:
        """End it as a crash does."""
        self.popen.kill()
        self.popen.communicate()


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Process]:
    """Run a cache for as long as the context lasts, or until it is killed."""
    popen, address, metrics = await started(database)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Process(popen, cache_pb2_grpc.CacheServiceStub(channel), metrics)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.communicate()


async def store(stub: Any, first: int, last: int) -> None:
    """Store entries, every other one labelled `odd`."""
    for start in range(first, last, _BATCH):
        sets = [
            pb.SetRequest(
                key=f"k{n}", content=pb.EntryContent(value=b"%d" % n, tags=["odd"] if n % 2 else ["even"])
            )
            for n in range(start, min(start + _BATCH, last))
        ]
        await stub.BatchSet(pb.BatchSetRequest(requests=sets))


async def held(stub: Any, count: int) -> set[int]:
    """Return which are there; each must be what was stored."""
    found: set[int] = set()
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=f"k{n}") for n in numbers])
        for number, each in zip(numbers, (await stub.BatchGet(gets)).results, strict=True):
            if each.value.HasField("entry"):
                assert each.value.entry.value == b"%d" % number
                found.add(number)
    return found


async def test_all_but_the_window_comes_back(database: Database) -> None:
    """Killed under load, the cache has at least 99 % of what the store had confirmed before the load."""
    async with running(database) as process:
        await store(process.stub, 0, _ENTRIES)
        await confirmed(process.metrics, _ENTRIES)
        load = asyncio.create_task(store(process.stub, _ENTRIES, 3 * _ENTRIES))
        await asyncio.sleep(0.05)
        process.kill()
        await asyncio.gather(load, return_exceptions=True)
    async with running(database) as process:
        assert len(await held(process.stub, _ENTRIES)) >= 0.99 * _ENTRIES


async def test_a_purge_outlives_the_kill_that_follows_it(database: Database) -> None:
    """Killed the moment a purge answered, before anything else is written, the cache has nothing of it back.

    What was leased before the purge and is filled after the restart is refused; what begins then is kept.
    """
    async with running(database) as process:
        await store(process.stub, 0, _ENTRIES)
        await confirmed(process.metrics, _ENTRIES)
        tokens = {key: await leased(process.stub, key) for key in ("late", "other")}
        answer = await process.stub.Purge(pb.PurgeRequest(tag="odd"))
        process.kill()
        assert answer.purged_entries == _ENTRIES / 2
    for _ in range(2):
        async with running(database) as process:
            assert await held(process.stub, _ENTRIES) == set(range(0, _ENTRIES, 2))
            purged = await filled(process.stub, "late", tokens["late"], tags=["odd"])
            assert purged == pb.FILL_OUTCOME_PURGED
            kept = await filled(process.stub, "other", tokens["other"], tags=["even"])
            assert kept in {pb.FILL_OUTCOME_STORED_WITHOUT_LEASE, pb.FILL_OUTCOME_SUPERSEDED}
            token = await leased(process.stub, "late")
            assert await filled(process.stub, "late", token, tags=["odd"]) == pb.FILL_OUTCOME_FILLED
            await process.stub.Purge(pb.PurgeRequest(key_prefix="late"))
            process.kill()


async def test_what_is_written_behind_a_purge_is_purged(database: Database) -> None:
    """Entries the store did not have yet when they were purged do not appear there later."""
    async with running(database) as process:
        await store(process.stub, 0, 500)
        await process.stub.Purge(pb.PurgeRequest(all=True))
        await store(process.stub, 500, 600)
        await confirmed(process.metrics, 100)
        process.kill()
    async with running(database) as process:
        assert await held(process.stub, 600) == set(range(500, 600))


async def test_a_replica_follows_what_another_purges(database: Database) -> None:
    """Of two processes on one store, what one purges leaves the other within moments, for good."""
    async with running(database) as one, running(database) as other:
        await store(other.stub, 0, 100)
        token = await leased(other.stub, "late")
        await one.stub.Purge(pb.PurgeRequest(all=True))
        async with asyncio.timeout(60):
            while await held(other.stub, 100):  # noqa: ASYNC110 - what another process has done
                await asyncio.sleep(0.05)
        assert await filled(other.stub, "late", token) == pb.FILL_OUTCOME_PURGED


async def test_what_does_not_fit_into_memory_is_read_when_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart with little memory entries still come, out of the store."""
    async with running(database) as process:
        await store(process.stub, 0, 300)
        await confirmed(process.metrics, 300)
        process.kill()
    monkeypatch.setenv("CACHE_MAX_BYTES", "70000")
    async with running(database) as process:
        for number in (0, 1, 150, 299):
            answer = await process.stub.Get(pb.GetRequest(key=f"k{number}"))
            assert answer.entry.value == b"%d" % number
