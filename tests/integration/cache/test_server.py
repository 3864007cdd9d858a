"""Every RPC of the cache over a real connection: what it answers, and what it says of bad requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2 as pb
from service_common.errors import ServiceError
from service_common.rpc.status import from_rpc_error, from_status

Serve = Callable[..., Any]


def content(value: bytes = b"v", **fields: Any) -> pb.EntryContent:
    """Make content to store."""
    return pb.EntryContent(value=value, **fields)


def lease_request(holder: str, *keys: str, epoch: int = 0, **fields: Any) -> pb.BatchAcquireRequest:
    """Make a request for leases."""
    requests = [pb.BatchAcquireRequest.AcquireRequest(key=key) for key in keys]
    return pb.BatchAcquireRequest(holder=holder, holder_epoch=epoch, requests=requests, **fields)


def scrape(port: int) -> list[str]:
    """Return the lines Prometheus would see."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text: bytes = page.read()
    return text.decode().splitlines()


async def failure(call: Any) -> ServiceError:
    """Return the error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_what_is_stored_is_served_unchanged(running: Any) -> None:
    """Every field of the content comes back, with its checksum and times."""
    stored = content(
        b"\x00value", content_type="text/plain", tags=["t1", "t2"], metadata={"model": "m"}, cost_micros=9
    )
    stored.ttl.seconds = 60
    answer = await running.stub.Set(pb.SetRequest(key="k", content=stored))
    entry = (await running.stub.Get(pb.GetRequest(key="k"))).entry
    assert (entry.key, entry.value, entry.content_type) == ("k", stored.value, "text/plain")
    assert (list(entry.tags), dict(entry.metadata), entry.cost_micros) == (["t1", "t2"], {"model": "m"}, 9)
    assert entry.checksum == sha256(stored.value).digest()
    assert entry.expire_time == answer.expire_time
    assert entry.expire_time.seconds - entry.create_time.seconds == 60


async def test_miss_delete_and_batches(running: Any) -> None:
    """A miss is an outcome; batches answer in order and a bad request leaves its neighbours alone."""
    assert not (await running.stub.Get(pb.GetRequest(key="no"))).HasField("entry")
    sets = [pb.SetRequest(key=key, content=content(key.encode())) for key in ("a", "b", "")]
    stored = await running.stub.BatchSet(pb.BatchSetRequest(requests=sets))
    assert [each.WhichOneof("outcome") for each in stored.results] == ["value", "value", "error"]
    assert from_status(stored.results[2].error).violations[0].field == "requests[2].key"
    gets = [pb.GetRequest(key=key) for key in ("b", "no", "", "a", "b")]
    found = await running.stub.BatchGet(pb.BatchGetRequest(requests=gets))
    assert [each.value.entry.value for each in found.results] == [b"b", b"", b"", b"a", b"b"]
    assert from_status(found.results[2].error).reason == "INVALID_FIELD"
    deletes = [pb.DeleteRequest(key=key) for key in ("a", "a")]
    deleted = await running.stub.BatchDelete(pb.BatchDeleteRequest(requests=deletes))
    assert [each.value.deleted for each in deleted.results] == [True, False]
    assert (await running.stub.Delete(pb.DeleteRequest(key="b"))).deleted


async def test_the_way_of_a_lease(running: Any) -> None:
    """Acquire, busy, stale, renew, fill, repeat, release: each as the contract says."""
    stub = running.stub
    mine = (await stub.BatchAcquire(lease_request("h", "k", epoch=2))).results[0].value
    assert mine.outcome == pb.ACQUIRE_OUTCOME_LEASED
    other = (await stub.BatchAcquire(lease_request("other", "k"))).results[0].value
    assert other.outcome == pb.ACQUIRE_OUTCOME_BUSY
    assert other.busy_until.seconds == pytest.approx(mine.lease.expire_time.seconds, abs=1)
    stale = (await stub.BatchAcquire(lease_request("h", "k", epoch=1))).results[0]
    assert from_status(stale.error).reason == "STALE_EPOCH"
    token = mine.lease.token
    renewal = pb.BatchRenewLeasesRequest.RenewLeaseRequest(key="k", lease_token=token)
    request = pb.BatchRenewLeasesRequest(requests=[renewal])
    request.lease_ttl.seconds = 300
    renewed = (await stub.BatchRenewLeases(request)).results[0].value
    assert renewed.expire_time.seconds > mine.lease.expire_time.seconds + 200
    fill = pb.BatchFillRequest.FillRequest(key="k", lease_token=token, content=content(b"made"))
    for _ in range(2):
        filled = await stub.BatchFill(pb.BatchFillRequest(requests=[fill]))
        assert filled.results[0].value == pb.FILL_OUTCOME_FILLED
    lost = (await stub.BatchRenewLeases(request)).results[0]
    assert from_status(lost.error).reason == "LEASE_LOST"
    release = pb.BatchReleaseRequest.ReleaseRequest(key="k", lease_token=token)
    released = await stub.BatchRelease(pb.BatchReleaseRequest(requests=[release]))
    assert not released.results[0].value.released
    hit = (await stub.BatchAcquire(lease_request("other", "k"))).results[0].value
    assert (hit.outcome, hit.entry.value) == (pb.ACQUIRE_OUTCOME_HIT, b"made")


_BAD_KEY = pb.GetRequest(key="é" * 257)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("Get", pb.GetRequest(), "key"),
        ("Get", _BAD_KEY, "key"),
        ("Delete", pb.DeleteRequest(), "key"),
        ("Set", pb.SetRequest(key="k"), "content"),
        ("Set", pb.SetRequest(key="k", content=content(b"x" * 1_048_577)), "content.value"),
        ("Set", pb.SetRequest(key="k", content=content(checksum=b"1")), "content.checksum"),
        ("Set", pb.SetRequest(key="k", content=content(checksum=b"1" * 32)), "content.checksum"),
        ("Set", pb.SetRequest(key="k", content=content(tags=["x"] * 17)), "content.tags"),
        ("Set", pb.SetRequest(key="k", content=content(tags=["", "x" * 129])), "content.tags[1]"),
        ("Set", pb.SetRequest(key="k", content=content(content_type="x" * 129)), "content.content_type"),
        ("Set", pb.SetRequest(key="k", content=content(metadata={"k" * 65: ""})), "content.metadata"),
        ("Set", pb.SetRequest(key="k", content=content(metadata={"k": "v" * 1025})), "content.metadata['k']"),
        ("Set", pb.SetRequest(key="k", content=content(cost_micros=-1)), "content.cost_micros"),
        ("Set", pb.SetRequest(key="k", content=content(ttl={"seconds": 0})), "content.ttl"),
        ("Set", pb.SetRequest(key="k", content=content(ttl={"seconds": 315_576_000_000})), "content.ttl"),
        (
            "Set",
            pb.SetRequest(key="k", content=content(expire_time={"seconds": 2**60})),
            "content.expire_time",
        ),
        ("BatchGet", pb.BatchGetRequest(), "requests"),
        ("BatchGet", pb.BatchGetRequest(requests=[_BAD_KEY] * 1001), "requests"),
        ("BatchSet", pb.BatchSetRequest(), "requests"),
        ("BatchDelete", pb.BatchDeleteRequest(), "requests"),
        ("BatchFill", pb.BatchFillRequest(), "requests"),
        ("BatchRenewLeases", pb.BatchRenewLeasesRequest(), "requests"),
        ("BatchRelease", pb.BatchReleaseRequest(), "requests"),
        ("BatchAcquire", lease_request("h"), "requests"),
        ("BatchAcquire", lease_request("", "k"), "holder"),
        ("BatchAcquire", lease_request("h", "k", epoch=-1), "holder_epoch"),
        ("BatchAcquire", lease_request("h", "k", lease_ttl={"seconds": 601}), "lease_ttl"),
        ("BatchAcquire", lease_request("h", "k", lease_ttl={"nanos": 5}), "lease_ttl"),
    ],
)
async def test_bad_requests_name_their_field(running: Any, method: str, request_: Any, field: str) -> None:
    """INVALID_ARGUMENT with the path of the field, for every limit the contract sets."""
    error = await failure(getattr(running.stub, method)(request_))
    assert error.reason == "INVALID_FIELD"
    assert [each.field for each in error.violations] == [field]


@pytest.mark.parametrize(
    ("keys", "field"), [([], "keys"), (["a", ""], "keys[1]"), (["a", "b", "a"], "keys[2]")]
)
async def test_keys_are_awaited_once(running: Any, keys: list[str], field: str) -> None:
    """AwaitEntries refuses no keys, malformed keys and keys named twice."""
    error = await failure(running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=keys)).read())
    assert error.violations[0].field == field


async def test_responses_stay_within_a_message(running: Any) -> None:
    """What does not fit into one response is refused entry by entry; asked for apart it is there."""
    for number in range(6):
        await running.stub.Set(pb.SetRequest(key=f"big{number}", content=content(b"x" * 1_000_000)))
    gets = [pb.GetRequest(key=f"big{number}") for number in range(6)]
    found = (await running.stub.BatchGet(pb.BatchGetRequest(requests=gets))).results
    outcomes = [each.WhichOneof("outcome") for each in found]
    assert outcomes == ["value"] * 4 + ["error"] * 2
    assert from_status(found[5].error).reason == "RESPONSE_TOO_LARGE"
    awaited = running.stub.AwaitEntries(pb.AwaitEntriesRequest(keys=[each.key for each in gets]))
    assert [entry.key async for message in awaited for entry in message.entries] == [e.key for e in gets]


async def test_too_large_for_the_cache(serve: Serve) -> None:
    """An entry over the byte limit is ENTRY_TOO_LARGE."""
    small = await serve(CACHE_MAX_BYTES="65536")
    error = await failure(small.stub.Set(pb.SetRequest(key="k", content=content(b"x" * 70_000))))
    assert error.reason == "ENTRY_TOO_LARGE"


async def test_tenants_never_meet(serve: Serve, tokens_file: Path) -> None:
    """Whatever keys two tenants choose, neither finds, deletes, waits for, fills or counts the other's."""
    running = await serve(AUTH_TOKENS_FILE=str(tokens_file))
    stub = running.stub
    a = (("authorization", "Bearer token-a"),)
    b = (("authorization", "Bearer token-a_b"),)
    keys = ["k", "b_k", "_b\0k", "a\0k", "a_b\0k", "a/k", "K", "k ", "\uff4b", "k\u0301", "../a/k"]
    sets = [pb.SetRequest(key=key, content=content(b"secret")) for key in keys]
    await stub.BatchSet(pb.BatchSetRequest(requests=sets), metadata=a)
    lookalikes = sorted({*keys, *(f"a\0{key}" for key in keys), *(f"a_b\0{key}" for key in keys)})
    gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in lookalikes])
    found = await stub.BatchGet(gets, metadata=b)
    assert not any(each.value.HasField("entry") for each in found.results)
    leases = await stub.BatchAcquire(lease_request("h", *lookalikes), metadata=b)
    assert {each.value.outcome for each in leases.results} == {pb.ACQUIRE_OUTCOME_LEASED}
    assert not (await stub.Delete(pb.DeleteRequest(key="k"), metadata=b)).deleted
    assert (await stub.Get(pb.GetRequest(key="k"), metadata=a)).entry.value == b"secret"
    stats = await stub.GetStats(pb.GetStatsRequest(), metadata=b)
    assert (stats.hits, stats.entries, stats.active_leases) == (0, 0, len(lookalikes))
    assert (await failure(stub.Get(pb.GetRequest(key="k")))).reason == "TOKEN_MISSING"


async def test_scraped_metrics_equal_what_was_done(running: Any) -> None:
    """Prometheus and GetStats show the counts the caller made."""
    sets = [pb.SetRequest(key=f"k{n}", content=content(b"x" * 10, cost_micros=5)) for n in range(7)]
    await running.stub.BatchSet(pb.BatchSetRequest(requests=sets))
    for key in ("k1", "k2", "nothing"):
        await running.stub.Get(pb.GetRequest(key=key))
    await running.stub.BatchAcquire(lease_request("h", "k3", "new"))
    stats = await running.stub.GetStats(pb.GetStatsRequest())
    assert (stats.hits, stats.misses, stats.entries, stats.active_leases) == (3, 2, 7, 1)
    assert (stats.saved_micros, stats.hit_ratio) == (15, 0.6)
    lines = await asyncio.to_thread(scrape, running.metrics_port)
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("content_cache"))
    assert float(values["content_cache_hits_total"]) == 3
    assert float(values["content_cache_misses_total"]) == 2
    assert float(values["content_cache_items_total"]) == 7
    assert float(values["content_cache_size_bytes"]) == stats.size_bytes
    assert float(values['content_cache_evictions_total{cause="capacity"}']) == 0
    assert "# TYPE content_cache_items_total gauge" in lines
    assert float(values['content_cache_operation_duration_seconds_count{operation="get"}']) >= 3
