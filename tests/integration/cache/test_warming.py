"""Warming and explained statistics over RPC, and a start that remembers what was in demand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2 as pb

from tests.integration.cache.conftest import Running, Serve
from tests.support.backends import on_durable_stores

_LEAST_LIMIT = 65_536


def set_of(key: str, size: int = 1000, **content: Any) -> pb.SetRequest:
    """Return a request to store an entry."""
    return pb.SetRequest(key=key, content=pb.EntryContent(value=b"x" * size, **content))


async def warmed(stub: Any, request: pb.StartWarmingRequest) -> pb.Warming:
    """Warm, and return how it ended."""
    warming = (await stub.StartWarming(request)).warming
    async with asyncio.timeout(30):
        while warming.state == pb.WARMING_STATE_RUNNING:
            await asyncio.sleep(0.01)
            asked = pb.GetWarmingRequest(warming_id=warming.warming_id)
            warming = (await stub.GetWarming(asked)).warming
    return pb.Warming.FromString(warming.SerializeToString())


async def test_entries_given_ahead_are_served(running: Running) -> None:
    """A stream of entries is stored; a key that has one keeps it; what comes of each is counted."""
    await running.stub.Set(set_of("k1", size=7))

    def given() -> Iterator[pb.WarmRequest]:
        yield pb.WarmRequest(requests=[set_of("k1"), set_of("k2")])
        yield pb.WarmRequest(requests=[set_of("k3")])

    answer = await running.stub.Warm(given())
    assert (answer.stored_entries, answer.held_entries, answer.no_room_entries) == (2, 1, 0)
    assert answer.stored_bytes > 2000
    sizes = [len((await running.stub.Get(pb.GetRequest(key=key))).entry.value) for key in ("k1", "k2", "k3")]
    assert sizes == [7, 1000, 1000]


async def test_nothing_leaves_for_what_is_given_ahead(serve: Serve) -> None:
    """In a full cache what comes by Warm is turned away and counted, and what was there is there."""
    stub = (await serve(CACHE_MAX_BYTES=str(_LEAST_LIMIT))).stub
    await stub.BatchSet(pb.BatchSetRequest(requests=[set_of(f"k{n}") for n in range(25)]))
    before = (await stub.GetStats(pb.GetStatsRequest())).entries
    answer = await stub.Warm(iter([pb.WarmRequest(requests=[set_of(f"w{n}") for n in range(50)])]))
    assert answer.no_room_entries > 0
    found = await stub.GetStats(pb.GetStatsRequest())
    assert (found.evictions, found.entries) == (0, before + answer.stored_entries)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("StartWarming", pb.StartWarmingRequest(strategy=pb.WARMING_STRATEGY_TAG), "tag"),
        ("StartWarming", pb.StartWarmingRequest(max_bytes=-1), "max_bytes"),
        ("StartWarming", pb.StartWarmingRequest(max_entries=-1), "max_entries"),
        ("StartWarming", pb.StartWarmingRequest(strategy=99), "strategy"),  # type: ignore[arg-type] # what an enum cannot say
        ("GetWarming", pb.GetWarmingRequest(), "warming_id"),
        ("CancelWarming", pb.CancelWarmingRequest(), "warming_id"),
    ],
)
async def test_bad_requests_name_their_field(
    running: Running, method: str, request_: Any, field: str
) -> None:
    """INVALID_ARGUMENT says which field."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(running.stub, method)(request_)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in str(refused.value.details())


async def test_an_unknown_warming_is_not_found(running: Running) -> None:
    """So is one to be cancelled."""
    for call in (
        running.stub.GetWarming(pb.GetWarmingRequest(warming_id="w")),
        running.stub.CancelWarming(pb.CancelWarmingRequest(warming_id="w")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@on_durable_stores
async def test_a_start_remembers_and_a_warming_brings_the_rest(serve: Serve) -> None:
    """After a start with less memory what was used last is there; the others come back when there is room."""
    first = await serve(CACHE_MAX_BYTES=str(8 * _LEAST_LIMIT))
    keys = [f"k{n}" for n in range(100)]
    used, unused = keys[10:30], [*keys[:10], *keys[30:]]
    sets = [set_of(key, tags=["drop" if key in unused[:60] else "keep"]) for key in keys]
    await first.stub.BatchSet(pb.BatchSetRequest(requests=sets))
    for _ in range(2):
        await first.stub.BatchGet(pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in used]))
    await first.stop()
    second = await serve(CACHE_MAX_BYTES=str(_LEAST_LIMIT))
    held = (await second.stub.GetStats(pb.GetStatsRequest())).entries
    assert 20 <= held < 60
    assert (await second.stub.Purge(pb.PurgeRequest(tag="drop"))).purged_entries == 60
    before = (await second.stub.GetStats(pb.GetStatsRequest())).entries
    found = await warmed(second.stub, pb.StartWarmingRequest(tag="keep"))
    assert found.state == pb.WARMING_STATE_SUCCEEDED, found.reason
    assert (await second.stub.GetStats(pb.GetStatsRequest())).entries == before + found.warmed_entries
    assert (await second.stub.GetStats(pb.GetStatsRequest())).evictions == 0
    gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in used])
    assert all(each.value.HasField("entry") for each in (await second.stub.BatchGet(gets)).results)


async def test_statistics_explain_themselves(serve: Serve) -> None:
    """A hot key in a churning cache is named as both; times, other limits and idle labels are there."""
    stub = (await serve(CACHE_MAX_BYTES=str(_LEAST_LIMIT * 8))).stub
    for start in range(0, 2000, 200):
        sets = [set_of(f"k{n}", tags=["idle"], cost_micros=1000) for n in range(start, start + 200)]
        await stub.BatchSet(pb.BatchSetRequest(requests=sets))
        await stub.Set(set_of("hot", tags=["busy"], cost_micros=1000))
        gets = [pb.GetRequest(key="hot") for _ in range(200)]
        await stub.BatchGet(pb.BatchGetRequest(requests=gets))
    plain = await stub.GetStats(pb.GetStatsRequest())
    assert not plain.HasField("profile")
    assert not plain.HasField("advice")
    found = await stub.GetStats(pb.GetStatsRequest(explain=True))
    kinds = {each.kind for each in found.profile.bottlenecks}
    assert pb.BOTTLENECK_KIND_HOT_KEY in kinds
    assert "hot" in found.profile.bottlenecks[0].text
    operations = {each.name: each for each in found.profile.operations}
    assert operations["batch_get"].count == 10
    assert operations["batch_get"].total.nanos > 0
    assert operations["batch_get"].p50.nanos <= operations["batch_get"].p99.nanos
    assert [each.capacity_bytes / (_LEAST_LIMIT * 8) for each in found.advice.limits] == [0.25, 0.5, 1, 2, 4]
    idle = next(each for each in found.advice.tags if each.tag == "idle")
    assert idle.unused_bytes == idle.size_bytes > 100_000
    advised = {each.kind for each in found.advice.recommendations}
    assert pb.RECOMMENDATION_KIND_PURGE_TAG in advised
