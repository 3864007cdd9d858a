"""Peeking tells what is there and leaves no trace: no hit, no miss, no recency."""

from __future__ import annotations

from typing import Any

from contentfactory.cache.v1 import cache_pb2 as pb
from service_common.rpc.status import from_status

from tests.integration.cache.conftest import Serve
from tests.integration.cache.test_server import content


def peeking(*keys: str, with_entries: bool = False) -> pb.BatchPeekRequest:
    """Return a request to peek at keys."""
    requests = [pb.BatchPeekRequest.PeekRequest(key=key) for key in keys]
    return pb.BatchPeekRequest(requests=requests, with_entries=with_entries)


async def test_peeking_tells_what_is_there_and_counts_nothing(running: Any) -> None:
    """Keys are answered in their places, entries come when asked for, and the statistics stay."""
    await running.stub.Set(pb.SetRequest(key="a", content=content(b"text")))
    bare = (await running.stub.BatchPeek(peeking("a", "no", ""))).results
    assert [each.value.present for each in bare] == [True, False, False]
    assert not bare[0].value.HasField("entry")
    assert from_status(bare[2].error).violations[0].field == "requests[2].key"
    full = (await running.stub.BatchPeek(peeking("no", "a", with_entries=True))).results
    assert [each.value.entry.value for each in full] == [b"", b"text"]
    stats = await running.stub.GetStats(pb.GetStatsRequest())
    assert (stats.hits, stats.misses) == (0, 0)


async def test_peeking_keeps_nothing_in_memory(serve: Serve) -> None:
    """What was peeked at last is still the least recently used, and the first to leave."""
    small = await serve(CACHE_MAX_BYTES="65536")
    for key in ("old", "new"):
        await small.stub.Set(pb.SetRequest(key=key, content=content(b"x" * 20_000)))
    for _ in range(3):
        await small.stub.BatchPeek(peeking("old"))
    for key in ("third", "fourth"):
        await small.stub.Set(pb.SetRequest(key=key, content=content(b"x" * 20_000)))
    left = (await small.stub.BatchPeek(peeking("old", "fourth"))).results
    assert [each.value.present for each in left] == [False, True]


async def test_what_does_not_fit_into_the_response_says_so(running: Any) -> None:
    """Entries that are too many together carry their own error; the others are there."""
    keys = [f"big{number}" for number in range(6)]
    for key in keys:
        await running.stub.Set(pb.SetRequest(key=key, content=content(b"x" * 1_000_000)))
    found = (await running.stub.BatchPeek(peeking(*keys, with_entries=True))).results
    assert [each.value.present for each in found] == [True] * 4 + [False] * 2
    assert from_status(found[5].error).reason == "RESPONSE_TOO_LARGE"
    assert all(each.value.present for each in (await running.stub.BatchPeek(peeking(*keys))).results)
