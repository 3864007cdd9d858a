"""Compression in a real server: smaller in memory and store, the same to callers, also after kill -9."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc

from tests.integration.cache.conftest import Running, Serve
from tests.support.backends import on_durable_stores
from tests.support.processes import ServiceProcess, running_service
from tests.unit.cache.packed import text

_FEW = range(40)
_FIRST = range(64)
_LATER = range(100, 140)
_MANY = range(1000)


def sets(numbers: Sequence[int], words: int = 120) -> pb.BatchSetRequest:
    """Return the request that stores texts."""
    return pb.BatchSetRequest(
        requests=[
            pb.SetRequest(
                key=f"k{n}",
                content=pb.EntryContent(value=text(n, words).encode(), metadata={"n": str(n)}, cost_micros=5),
            )
            for n in numbers
        ]
    )


def gets(numbers: Sequence[int]) -> pb.BatchGetRequest:
    """Return the request that looks them up."""
    return pb.BatchGetRequest(requests=[pb.GetRequest(key=f"k{n}") for n in numbers])


async def until_packed(running: Running, count: int, *, dictionaries: int) -> pb.CompressionStats:
    """Wait until so many entries were packed and there are so many dictionaries."""
    async with asyncio.timeout(60):
        while True:
            stats = (await running.stub.GetStats(pb.GetStatsRequest())).compression
            if stats.packed_entries >= count and len(stats.dictionaries) >= dictionaries:
                return stats
            await asyncio.sleep(0.05)


def metric(running: Running, name: str) -> float:
    """Return a metric's value as exposed."""
    with urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


@on_durable_stores
async def test_callers_notice_nothing(serve: Serve) -> None:
    """Get, BatchGet, BatchAcquire and AwaitEntries answer as without compression, before and after a restart.

    Statistics and metrics say what a caller that adds up the sizes of its entries says.
    """
    running = await serve()
    await running.stub.BatchSet(sets(_FIRST))
    await until_packed(running, len(_FIRST), dictionaries=1)
    await running.stub.BatchSet(sets(_LATER))
    stats = await until_packed(running, len(_FIRST) + len(_LATER), dictionaries=1)
    later = [each.value.entry for each in (await running.stub.BatchGet(gets(_LATER))).results]
    assert [each.value.decode() for each in later] == [text(n) for n in _LATER]
    assert [each.metadata["n"] for each in later] == [str(n) for n in _LATER]
    first = [each.value.entry for each in (await running.stub.BatchGet(gets(_FIRST))).results]
    sizes = [each.ByteSize() for each in (*first, *later)]
    assert stats.bytes_before == sum(sizes)
    explained = await running.stub.GetStats(pb.GetStatsRequest(explain=True))
    assert {each.name: each.count for each in explained.profile.operations}["compress"] == len(sizes)
    assert explained.compression == stats
    (dictionary,) = stats.dictionaries
    assert (dictionary.version, dictionary.packed_entries) == (1, len(_LATER))
    assert dictionary.bytes_before == sum(each.ByteSize() for each in later)
    assert dictionary.bytes_after < 0.5 * dictionary.bytes_before
    assert dictionary.bytes_before == metric(
        running, 'content_cache_compression_input_bytes_total{dictionary="trained"}'
    )
    assert metric(running, "content_cache_dictionaries") == 1
    await running.stop()
    again = await serve(CACHE_COMPRESSION="off")
    await answer_alike(again, later)
    assert metric(again, 'content_cache_compression_output_bytes_total{dictionary="trained"}') == 0


@on_durable_stores
async def test_what_is_left_in_the_store_comes_back_packed(serve: Serve) -> None:
    """With memory for a part of them packed entries are warmed, and read when asked for, as they were."""
    first = await serve()
    await first.stub.BatchSet(sets(_FEW, words=2000))
    await until_packed(first, len(_FEW), dictionaries=0)
    whole = (await first.stub.GetStats(pb.GetStatsRequest())).size_bytes
    await first.stop()
    second = await serve(CACHE_MAX_BYTES=str(whole // 2))
    held = await held_of(second, _FEW)
    assert 10 < len(held) < 30
    for number in held[:8]:
        await second.stub.Delete(pb.DeleteRequest(key=f"k{number}"))
    await second.stub.StartWarming(pb.StartWarmingRequest(max_entries=5))
    async with asyncio.timeout(30):
        while True:
            now = await held_of(second, _FEW)
            if len(now) == len(held) - 8 + 5:
                break
            await asyncio.sleep(0.02)
    warmed = set(now) - set(held)
    read = next(number for number in _FEW if number not in {*now, *held})
    found = (await second.stub.BatchGet(gets([*warmed, read]))).results
    assert [each.value.entry.value.decode() for each in found] == [text(n, 2000) for n in (*warmed, read)]


async def held_of(running: Running, numbers: Sequence[int]) -> list[int]:
    """Return whose entries are in memory."""
    peeks = [pb.BatchPeekRequest.PeekRequest(key=f"k{n}") for n in numbers]
    results = (await running.stub.BatchPeek(pb.BatchPeekRequest(requests=peeks))).results
    return [number for number, each in zip(numbers, results, strict=True) if each.value.present]


async def answer_alike(running: Running, entries: Sequence[pb.Entry]) -> None:
    """Assert that every way to get entries returns these."""
    keys = [each.key for each in entries]
    for each in entries[:3]:
        assert (await running.stub.Get(pb.GetRequest(key=each.key))).entry == each
    acquire = pb.BatchAcquireRequest.AcquireRequest
    acquired = await running.stub.BatchAcquire(
        pb.BatchAcquireRequest(holder="h", holder_epoch=1, requests=[acquire(key=key) for key in keys])
    )
    assert [each.value.entry for each in acquired.results] == list(entries)
    awaited: list[pb.Entry] = []
    async for frame in running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=keys)):
        awaited += [each.entry for each in frame.entries]
    assert awaited == list(entries)
    peek = pb.BatchPeekRequest(
        requests=[pb.BatchPeekRequest.PeekRequest(key=key) for key in keys], with_entries=True
    )
    peeked = (await running.stub.BatchPeek(peek)).results
    assert [each.value.entry for each in peeked] == list(entries)


def stub_of(service: ServiceProcess) -> Any:
    """Return a caller of a cache."""
    return cache_pb2_grpc.CacheServiceStub(grpc.insecure_channel(service.address))


def until_logged(service: ServiceProcess, event: str) -> None:
    """Wait until a service has logged an event."""
    deadline = time.monotonic() + 60
    while not service.events(event):
        assert time.monotonic() < deadline, service.log
        time.sleep(0.005)


def test_kill_9_in_the_middle_of_training(tmp_path: Path) -> None:
    """Killed while it trains, the cache has every entry after a restart, and trains on what comes then."""
    env = {"CACHE_FLUSH_INTERVAL_S": "0"}
    with running_service("cache", env, directory=tmp_path) as service:
        stub_of(service).BatchSet(sets(_MANY, words=250))
        until_logged(service, "training")
        service.kill()
        assert not service.events("dictionary_trained")
    with running_service("cache", env, directory=tmp_path) as service:
        stub = stub_of(service)
        found = stub.BatchGet(gets(_MANY)).results
        assert [each.value.entry.value.decode() for each in found] == [text(n, 250) for n in _MANY]
        assert not stub.GetStats(pb.GetStatsRequest()).compression.dictionaries
        stub.BatchSet(sets(range(5000, 5064)))
        until_logged(service, "dictionary_trained")
        stub.BatchSet(sets(_LATER))
        later = stub.BatchGet(gets(_LATER)).results
        assert [each.value.entry.value.decode() for each in later] == [text(n) for n in _LATER]
