"""The content cache as a neighbour: batches are split by replica, entries become domain values.

Hot requests are made of fields, not of messages: see `Fields`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from contentfactory.cache.v1 import cache_pb2
from service_common.errors import ServiceError
from service_common.rpc.fields import Fields
from service_common.rpc.status import from_status
from service_common.rpc.times import duration

from parallel_processor.neighbours.replicas import CacheReplicas
from parallel_processor.running.ports import Acquired, Acquisition, Entry, Fill, Owner

ResultT = TypeVar("ResultT")
_ACQUIRE_S = 2.0
"""Who acquires holds a slot: neither a long wait nor a second try is worth what it could make meanwhile."""

_LEASE_S = 30.0
_LEASE_TTL = duration(_LEASE_S)
LEASE_RENEWAL_S = _LEASE_S / 3

_ACQUIRED = {
    cache_pb2.ACQUIRE_OUTCOME_HIT: Acquired.HIT,
    cache_pb2.ACQUIRE_OUTCOME_LEASED: Acquired.LEASED,
    cache_pb2.ACQUIRE_OUTCOME_BUSY: Acquired.BUSY,
    cache_pb2.ACQUIRE_OUTCOME_STALE: Acquired.HIT,
}


class CacheNeighbour:
    """Calls the cache; see `CachePort`."""

    def __init__(self, replicas: CacheReplicas) -> None:
        self._replicas = replicas

    async def get(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return one entry or None per key."""

        async def ask(part: Sequence[str]) -> list[Entry | Exception | None]:
            fields: Fields = {"requests": [{"key": key} for key in part]}
            request = cache_pb2.BatchGetRequest(**fields)
            response = await self._replicas.call(owner, part[0], lambda stub: stub.BatchGet, request)
            return [_looked_up(each) for each in response.results]

        found = await self._replicas.split(keys, keys, lambda part: _in_full(part, ask))
        return [None if isinstance(each, Exception) else each for each in found]

    async def peek(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return one entry or None per key; the cache takes no notice."""

        async def ask(part: Sequence[str]) -> list[Entry | Exception | None]:
            peeks = [cache_pb2.BatchPeekRequest.PeekRequest(key=key) for key in part]
            request = cache_pb2.BatchPeekRequest(requests=peeks, with_entries=True)
            response = await self._replicas.call(owner, part[0], lambda stub: stub.BatchPeek, request)
            return [_looked_up(each) for each in response.results]

        found = await self._replicas.split(keys, keys, lambda part: _in_full(part, ask))
        return [None if isinstance(each, Exception) else each for each in found]

    async def acquire(
        self, owner: Owner, holder: str, epoch: int, keys: Sequence[str]
    ) -> list[Acquisition | Exception]:
        """Take the leases of keys, or learn what else to do."""

        async def ask(part: Sequence[str]) -> list[Acquisition | Exception]:
            fields: Fields = {"requests": [{"key": key} for key in part]}
            request = cache_pb2.BatchAcquireRequest(
                holder=holder, holder_epoch=epoch, lease_ttl=_LEASE_TTL, **fields
            )
            response = await self._replicas.call(
                owner, part[0], lambda stub: stub.BatchAcquire, request, timeout_s=_ACQUIRE_S, again=False
            )
            return [_acquisition(each) for each in response.results]

        return await self._replicas.split(keys, keys, lambda part: _in_full(part, ask))

    async def await_entries(
        self, owner: Owner, keys: Sequence[str], *, timeout_s: float
    ) -> AsyncIterator[tuple[str, Entry | None]]:
        """Yield each key once, with its entry or None for a lost lease; the keys belong to one replica."""
        request = cache_pb2.AwaitEntriesRequest(keys=keys)
        stream = self._replicas.stream(
            owner, keys[0], lambda stub: stub.AwaitEntries, request, timeout_s=timeout_s
        )
        async with aclosing(stream) as frames:
            async for frame in frames:
                for each in frame.entries:
                    yield each.key, entry_of(each.entry) if each.HasField("entry") else None

    async def fill(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store generated content under leases."""

        async def ask(part: Sequence[Fill]) -> list[None]:
            requests = [
                {
                    "key": each.key,
                    "lease_token": each.lease_token,
                    "content": _content(each),
                    "pass_on_only": not each.keep,
                }
                for each in part
            ]
            fields: Fields = {"requests": requests}
            request = cache_pb2.BatchFillRequest(**fields)
            await self._replicas.call(owner, part[0].key, lambda stub: stub.BatchFill, request)
            return [None] * len(part)

        await self._replicas.split([each.key for each in fills], fills, ask)

    async def replace(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store content in place of what is there."""

        async def ask(part: Sequence[Fill]) -> list[None]:
            requests = [{"key": each.key, "content": _content(each)} for each in part]
            fields: Fields = {"requests": requests}
            request = cache_pb2.BatchSetRequest(**fields)
            await self._replicas.call(owner, part[0].key, lambda stub: stub.BatchSet, request)
            return [None] * len(part)

        await self._replicas.split([each.key for each in fills], fills, ask)

    async def renew(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Extend leases, given as pairs of key and token."""

        async def ask(part: Sequence[tuple[str, str]]) -> list[None]:
            renewals = [
                cache_pb2.BatchRenewLeasesRequest.RenewLeaseRequest(key=key, lease_token=token)
                for key, token in part
            ]
            request = cache_pb2.BatchRenewLeasesRequest(lease_ttl=_LEASE_TTL, requests=renewals)
            await self._replicas.call(owner, part[0][0], lambda stub: stub.BatchRenewLeases, request)
            return [None] * len(part)

        await self._replicas.split([key for key, _ in leases], leases, ask)

    async def release(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Give leases back, given as pairs of key and token."""

        async def ask(part: Sequence[tuple[str, str]]) -> list[None]:
            releases = [
                cache_pb2.BatchReleaseRequest.ReleaseRequest(key=key, lease_token=token)
                for key, token in part
            ]
            request = cache_pb2.BatchReleaseRequest(requests=releases)
            await self._replicas.call(owner, part[0][0], lambda stub: stub.BatchRelease, request)
            return [None] * len(part)

        await self._replicas.split([key for key, _ in leases], leases, ask)

    def replica_of(self, key: str) -> str:
        """Return a name for the replica a key belongs to."""
        return self._replicas.of(key)


async def _in_full(
    keys: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[list[ResultT | Exception]]]
) -> list[ResultT | Exception]:
    """Ask again for the entries that did not fit into one response, as long as that brings some of them."""
    results = await ask(keys)
    while left := [index for index, each in enumerate(results) if _did_not_fit(each)]:
        answers = await ask([keys[index] for index in left])
        for index, answer in zip(left, answers, strict=True):
            results[index] = answer
        if all(map(_did_not_fit, answers)):
            break
    return results


def _did_not_fit(result: object) -> bool:
    return isinstance(result, ServiceError) and result.reason == "RESPONSE_TOO_LARGE"


def _looked_up(
    result: cache_pb2.BatchGetResponse.Result | cache_pb2.BatchPeekResponse.Result,
) -> Entry | Exception | None:
    if result.HasField("error"):
        return from_status(result.error)
    return entry_of(result.value.entry) if result.value.HasField("entry") else None


def entry_of(message: cache_pb2.Entry) -> Entry | None:
    """Read an entry; None for one that is no text, which only a client of the cache can have stored."""
    try:
        text = message.value.decode()
    except UnicodeDecodeError:
        return None
    return Entry(
        value=text,
        content_type=message.content_type,
        cost_micros=message.cost_micros,
        facts=dict(message.metadata),
    )


def _content(fill: Fill) -> Fields:
    entry = fill.entry
    return {
        "value": entry.value.encode(),
        "content_type": entry.content_type,
        "tags": fill.tags,
        "metadata": entry.facts,
        "cost_micros": entry.cost_micros,
    }


def _acquisition(result: cache_pb2.BatchAcquireResponse.Result) -> Acquisition | Exception:
    if result.HasField("error"):
        return from_status(result.error)
    value = result.value
    outcome = _ACQUIRED[value.outcome]
    if value.outcome == cache_pb2.ACQUIRE_OUTCOME_STALE and value.HasField("lease"):
        # Everybody else is served what has expired: one generates it anew.
        return Acquisition(Acquired.LEASED, lease_token=value.lease.token)
    if outcome is not Acquired.HIT:
        return Acquisition(outcome, lease_token=value.lease.token)
    entry = entry_of(value.entry)
    return Acquisition(Acquired.HIT, entry) if entry else Acquisition(Acquired.LEASED)
