"""Purges over RPC: every selector, by whom it is asked, and what comes too late."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2 as pb

from tests.integration.cache.conftest import Running, Serve

_HELD = {
    "k1": ("template:faq@1", "content_type:faq"),
    "k2": ("template:faq@11",),
    "l1": ("content_type:faq",),
    "\u00e9": (),
}


def as_tenant(tenant: str) -> tuple[tuple[str, str], ...]:
    """Return the credential of a tenant."""
    return (("authorization", f"Bearer token-{tenant}"),)


async def fill(stub: Any, **call: Any) -> None:
    """Store the entries."""
    sets = [
        pb.SetRequest(key=key, content=pb.EntryContent(value=b"x", tags=tags)) for key, tags in _HELD.items()
    ]
    answer = await stub.BatchSet(pb.BatchSetRequest(requests=sets), **call)
    assert all(each.HasField("value") for each in answer.results)


async def left(stub: Any, **call: Any) -> set[str]:
    """Return the keys that have an entry."""
    gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in _HELD])
    results = (await stub.BatchGet(gets, **call)).results
    return {key for key, each in zip(_HELD, results, strict=True) if each.value.HasField("entry")}


async def leased(stub: Any, key: str) -> str:
    """Lease a key and return the token."""
    request = pb.BatchAcquireRequest(holder="h", requests=[pb.BatchAcquireRequest.AcquireRequest(key=key)])
    (result,) = (await stub.BatchAcquire(request)).results
    assert result.value.outcome == pb.ACQUIRE_OUTCOME_LEASED
    return str(result.value.lease.token)


async def filled(stub: Any, key: str, token: str, **content: Any) -> int:
    """Fill a key and return the outcome."""
    each = pb.BatchFillRequest.FillRequest(
        key=key, lease_token=token, content=pb.EntryContent(value=b"new", **content)
    )
    (result,) = (await stub.BatchFill(pb.BatchFillRequest(requests=[each]))).results
    return int(result.value)


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (pb.PurgeRequest(tag="content_type:faq"), {"k2", "\u00e9"}),
        (
            pb.PurgeRequest(template_version=pb.PurgeRequest.TemplateVersion(template_id="faq", version=1)),
            {"k2", "l1", "\u00e9"},
        ),
        (pb.PurgeRequest(key_prefix="k"), {"l1", "\u00e9"}),
        (pb.PurgeRequest(key_prefix="e"), set(_HELD)),
        (pb.PurgeRequest(all=True), set()),
        (pb.PurgeRequest(tag="content_type:faq", mode=pb.PURGE_MODE_LEAVE_FIRST), set(_HELD)),
    ],
)
async def test_each_selector(running: Running, request_: pb.PurgeRequest, kept: set[str]) -> None:
    """Exactly what is named goes, at once, and is counted."""
    await fill(running.stub)
    answer = await running.stub.Purge(request_)
    assert await left(running.stub) == kept
    if request_.mode != pb.PURGE_MODE_LEAVE_FIRST:
        assert answer.purged_entries == len(_HELD) - len(kept)
        assert (await running.stub.GetStats(pb.GetStatsRequest())).purged == answer.purged_entries


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.PurgeRequest(), "selector"),
        (pb.PurgeRequest(all=False), "selector"),
        (pb.PurgeRequest(tag=""), "tag"),
        (pb.PurgeRequest(tag="\u00e9" * 65), "tag"),
        (pb.PurgeRequest(key_prefix="k" * 513), "key_prefix"),
        (pb.PurgeRequest(template_version=pb.PurgeRequest.TemplateVersion(version=1)), "template_id"),
        (pb.PurgeRequest(template_version=pb.PurgeRequest.TemplateVersion(template_id="f")), "version"),
        (pb.PurgeRequest(all=True, mode=pb.PURGE_MODE_LEAVE_FIRST), "mode"),
        (pb.PurgeRequest(tag="t", mode=99), "mode"),  # type: ignore[arg-type]  # of a later release
    ],
)
async def test_bad_purges_name_their_field(running: Running, request_: pb.PurgeRequest, field: str) -> None:
    """What is malformed is INVALID_ARGUMENT, says where, and removes nothing."""
    await fill(running.stub)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.stub.Purge(request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (refused.value.details() or "")
    assert await left(running.stub) == set(_HELD)


async def test_a_tenant_purges_its_own(serve: Serve, tokens_file: Path) -> None:
    """Whatever one tenant purges, a tenant whose name looks alike keeps everything."""
    running = await serve(AUTH_TOKENS_FILE=str(tokens_file))
    mine, other = ({"metadata": as_tenant(tenant)} for tenant in ("a", "a_b"))
    for call in (mine, other):
        await fill(running.stub, **call)
    for request in (
        pb.PurgeRequest(tag="content_type:faq"),
        pb.PurgeRequest(key_prefix="k"),
        pb.PurgeRequest(all=True),
    ):
        await running.stub.Purge(request, metadata=as_tenant("a"))
    assert await left(running.stub, **mine) == set()
    assert await left(running.stub, **other) == set(_HELD)


async def test_what_was_under_way_is_not_kept(running: Running) -> None:
    """A fill under a lease from before is PURGED if the purge fits it; what begins later is stored."""
    token, other = await leased(running.stub, "k"), await leased(running.stub, "l")
    await running.stub.Purge(pb.PurgeRequest(tag="old"))
    assert await filled(running.stub, "k", token, tags=["old"]) == pb.FILL_OUTCOME_PURGED
    assert await filled(running.stub, "l", other, tags=["new"]) == pb.FILL_OUTCOME_FILLED
    token = await leased(running.stub, "k")
    assert await filled(running.stub, "k", token, tags=["old"]) == pb.FILL_OUTCOME_FILLED


async def test_a_made_up_token_escapes_no_purge(running: Running) -> None:
    """A token that claims to be of an era to come is of this one: the next purge covers what it brought."""
    await running.stub.Purge(pb.PurgeRequest(tag="t"))
    outcome = await filled(running.stub, "k", "made-up.999999999", tags=["t"])
    assert outcome == pb.FILL_OUTCOME_STORED_WITHOUT_LEASE
    assert (await running.stub.Purge(pb.PurgeRequest(tag="t"))).purged_entries == 1


async def test_stale_entries_are_handed_out_while_one_refreshes(running: Running) -> None:
    """Past its expiry an entry is STALE for all, with a lease for one; a lookup misses it; a fill ends it."""
    content = pb.EntryContent(value=b"old")
    content.ttl.FromMilliseconds(1)
    content.stale_window.FromSeconds(60)
    await running.stub.Set(pb.SetRequest(key="k", content=content))
    await asyncio.sleep(0.05)
    assert not (await running.stub.Get(pb.GetRequest(key="k"))).HasField("entry")
    acquire = pb.BatchAcquireRequest.AcquireRequest(key="k")
    found = [
        (await running.stub.BatchAcquire(pb.BatchAcquireRequest(holder=holder, requests=[acquire])))
        .results[0]
        .value
        for holder in ("one", "two", "three")
    ]
    assert {each.outcome for each in found} == {pb.ACQUIRE_OUTCOME_STALE}
    assert {each.entry.value for each in found} == {b"old"}
    assert {each.entry.stale_window.seconds for each in found} == {60}
    assert [bool(each.lease.token) for each in found] == [True, False, False]
    assert await filled(running.stub, "k", found[0].lease.token) == pb.FILL_OUTCOME_FILLED
    assert (await running.stub.Get(pb.GetRequest(key="k"))).entry.value == b"new"
    assert (await running.stub.GetStats(pb.GetStatsRequest())).stale_hits == 3


async def test_a_lost_lease_is_handed_over_in_the_stream(running: Running) -> None:
    """Who waits under a name receives the lease when it is given back, and what it fills wakes the others."""
    token = await leased(running.stub, "k")
    stub: Any = running.stub
    heir = stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k"], holder="heir"))
    reading = asyncio.create_task(heir.read())
    await asyncio.sleep(0.2)
    plain = stub.AwaitEntries(pb.AwaitEntriesRequest(keys=["k"]))
    waiting = asyncio.create_task(plain.read())
    await asyncio.sleep(0.2)
    release = pb.BatchReleaseRequest.ReleaseRequest(key="k", lease_token=token)
    await running.stub.BatchRelease(pb.BatchReleaseRequest(requests=[release]))
    (told,) = (await reading).entries
    assert told.outcome == pb.AWAIT_OUTCOME_LEASED
    assert not waiting.done()
    assert await filled(running.stub, "k", told.lease.token) == pb.FILL_OUTCOME_FILLED
    (woken,) = (await waiting).entries
    assert (woken.outcome, woken.entry.value) == (pb.AWAIT_OUTCOME_FILLED, b"new")


async def test_ten_thousand_probes_of_another_tenant_hit_nothing(serve: Serve, tokens_file: Path) -> None:
    """Over RPC too no look-alike of a key reaches another tenant's entry, and none of its labels does."""
    stub: Any = (await serve(AUTH_TOKENS_FILE=str(tokens_file))).stub
    await fill(stub, metadata=as_tenant("a"))
    probes = [
        f"{before}{key}{after}"
        for key in _HELD
        for before in ("", "a", "a/", "a\0", "a_b/", " ")
        for after in ("", " ", "\0", "\u0301", *map(str, range(420)))
    ]
    assert len(probes) > 10_000
    for start in range(0, len(probes), 1000):
        gets = [pb.GetRequest(key=key) for key in probes[start : start + 1000]]
        found = await stub.BatchGet(pb.BatchGetRequest(requests=gets), metadata=as_tenant("a_b"))
        assert not any(each.value.HasField("entry") for each in found.results)
    for tags in _HELD.values():
        for tag in tags:
            purged = await stub.Purge(pb.PurgeRequest(tag=tag), metadata=as_tenant("a_b"))
            assert purged.purged_entries == 0
    assert await left(stub, metadata=as_tenant("a")) == set(_HELD)


async def test_a_quota_holds_and_is_counted(serve: Serve) -> None:
    """A tenant beyond its quota loses its own oldest entries; statistics and metrics name the cause."""
    running = await serve(CACHE_TENANT_MAX_BYTES="20000", CACHE_COMPRESSION="off")
    for number in range(50):
        await running.stub.Set(pb.SetRequest(key=f"k{number}", content=pb.EntryContent(value=b"x" * 500)))
    stats = await running.stub.GetStats(pb.GetStatsRequest())
    assert 15_000 < stats.size_bytes <= 20_000
    assert stats.quota_evictions == 50 - stats.entries > 0
    assert stats.evictions == 0
    with urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics") as answer:  # noqa: ASYNC210 - one short read
        metrics = answer.read().decode()
    assert f'content_cache_evictions_total{{cause="quota"}} {stats.quota_evictions}.0' in metrics
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.stub.Set(pb.SetRequest(key="big", content=pb.EntryContent(value=b"x" * 20_000)))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
