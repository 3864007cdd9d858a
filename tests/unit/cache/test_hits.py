"""A hit leaves in the bytes it is kept in: nothing of it is parsed or serialised on the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from content_cache.cache import ContentCache
from content_cache.compression.parts import put_together
from content_cache.durability.read_through import ReadThrough
from content_cache.live import LiveCache
from content_cache.servicer import CacheServicer
from contentfactory.cache.v1 import cache_pb2 as pb
from service_common.call import CallContext, Principal, call_scope
from service_common.clock import ManualClock

NO_MESSAGE = b"\xff\xff these bytes are no message"


@pytest.fixture
def servicer(cache: ContentCache, clock: ManualClock, make_entry: Any) -> Iterator[Any]:
    """Answer tenant `a` from a cache of two entries that are no messages."""
    for key in ("k1", "k2"):
        cache.set(make_entry(key, encoded=NO_MESSAGE))
    live = LiveCache(cache, clock=clock, changed=lambda *_: None)
    live.open()
    nothing: Any = None
    with call_scope(CallContext(Principal("a", "u"), "r")):
        yield CacheServicer(
            live,
            nothing,
            ReadThrough(nothing, clock=clock),
            compression=put_together(
                cache,
                nothing,
                nothing,
                clock=clock,
                observe=nothing,
                below=nothing,
                threshold=64,
                level=3,
            ),
            warmings=nothing,
            insight=nothing,
            default_ttl=timedelta(days=1),
            max_message_bytes=4096,
            observer=lambda _: lambda _: None,
        )


async def test_a_hit_is_served_as_it_is_kept(servicer: Any) -> None:
    """The response to a Get ends with the very bytes that are kept."""
    found: bytes = await servicer.Get("k1", None)
    assert found == b"\x0a" + bytes([len(NO_MESSAGE)]) + NO_MESSAGE


async def test_hits_of_a_batch_are_served_as_they_are_kept(servicer: Any) -> None:
    """The response to a BatchGet holds them so, beside misses and what is refused."""
    response: bytes = await servicer.BatchGet((["k1", "", "none", "k2"], False), None)
    assert response.count(NO_MESSAGE) == 2
    assert response.endswith(NO_MESSAGE)
    hollow = response.replace(NO_MESSAGE, pb.Entry(value=bytes(len(NO_MESSAGE) - 2)).SerializeToString())
    results = pb.BatchGetResponse.FromString(hollow).results
    assert [each.WhichOneof("outcome") for each in results] == ["value", "error", "value", "value"]
    assert [each.value.HasField("entry") for each in results] == [True, False, False, True]


async def test_a_refused_key_is_not_looked_up(servicer: Any, cache: ContentCache) -> None:
    """A key that cannot be one counts as neither hit nor miss."""
    await servicer.BatchGet((["k1", "", "none", "x" * 600], False), None)
    counters = cache.counters("a")
    assert (counters.hits, counters.misses) == (1, 1)
