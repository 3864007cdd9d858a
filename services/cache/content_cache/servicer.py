"""Answers CacheService: message → cache → message; entries leave in the bytes they are kept in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeAlias, cast

import grpc
from contentfactory.cache.v1 import cache_pb2, cache_pb2_grpc
from google.protobuf.message import Message
from service_common.call import current_call
from service_common.rpc.interceptor import decoded_by

from content_cache import convert, validation
from content_cache.answers import insight_message, request_bytes, similar, wire
from content_cache.answers.acquiring import acquire_each
from content_cache.answers.results import answer_each, fitting, no_room, numbered
from content_cache.cache import ContentCache
from content_cache.compression.parts import Compression
from content_cache.durability.purging import Purging
from content_cache.durability.read_through import ReadThrough
from content_cache.durability.warming import Warmings, store_if_free
from content_cache.entry import Address, Entry
from content_cache.insight.insight import Insight
from content_cache.leasing.leases import Lease
from content_cache.live import LiveCache, Turn
from content_cache.semantic.port import Match, Semantic

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Observer = Callable[[str], Callable[[float], None]]
_RenewRequest = cache_pb2.BatchRenewLeasesRequest.RenewLeaseRequest
_ReleaseRequest = cache_pb2.BatchReleaseRequest.ReleaseRequest
_PeekRequest = cache_pb2.BatchPeekRequest.PeekRequest
_PeekResult = cache_pb2.BatchPeekResponse.Result
_SetResult = cache_pb2.BatchSetResponse.Result
_DeleteResult = cache_pb2.BatchDeleteResponse.Result
_FillResult = cache_pb2.BatchFillResponse.Result
_RenewResult = cache_pb2.BatchRenewLeasesResponse.Result
_ReleaseResult = cache_pb2.BatchReleaseResponse.Result


_FRAME_BYTES = 256
"""What a result may take beside its entry, an error included."""


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """The contract over a live cache."""

    def __init__(
        self,
        live: LiveCache,
        purging: Purging,
        stored: ReadThrough,
        *,
        compression: Compression,
        warmings: Warmings,
        insight: Insight,
        default_ttl: timedelta,
        max_message_bytes: int,
        observer: Observer,
        semantic: Semantic | None = None,
    ) -> None:
        """Prepare to answer.

        Args:
            live: The cache.
            purging: Purges it.
            stored: Brings back what is not in memory.
            compression: Unpacks what is packed.
            warmings: Bring back what nobody has asked for yet.
            insight: Explains the statistics.
            default_ttl: How long an entry is served when its caller does not say.
            max_message_bytes: Largest response.
            observer: Returns what is told the seconds of one kind of operation.
            semantic: Finds answers to prompts that say the same; None while it is off.
        """

        def turns(operation: str) -> Turn:
            return live.operation(observer(operation))

        self._live = live
        self._purging = purging
        self._tier = stored
        self._compression = compression
        self._opening = compression.opening
        self._warmings = warmings
        self._insight = insight
        self._default_ttl = default_ttl
        self._max_message_bytes = max_message_bytes
        self._semantic = semantic
        self._get, self._batch_get = turns("get"), turns("batch_get")
        self._peek = turns("batch_peek")
        self._set, self._batch_set = turns("set"), turns("batch_set")
        self._delete, self._batch_delete = turns("delete"), turns("batch_delete")
        self._acquire, self._await = turns("batch_acquire"), turns("await_entries")
        self._fill, self._renew = turns("batch_fill"), turns("batch_renew_leases")
        self._release, self._stats = turns("batch_release"), turns("get_stats")
        self._warm, self._similar = turns("warm"), turns("batch_find_similar")

    @decoded_by(request_bytes.get_key)
    async def Get(self, key: str, _context: Context) -> Any:  # type: ignore[override]  # decoded to its key
        """Look one entry up."""
        validation.check_key("key", key)
        tenant = current_call().principal.tenant
        if self._tier.left:
            await self._tier.bring(tenant, (key,))
        with self._get as cache:
            # To a lookup an address is its tuple.
            entry = cache.get(cast("Address", (tenant, key)))
            if entry is None:
                return b""
            encoded = self._opening.sent(cache, entry) if entry.packing else entry.encoded
        return wire.get_response(encoded)

    @decoded_by(request_bytes.batch_get_keys)
    async def BatchGet(self, decoded: tuple[Sequence[str], bool], _context: Context) -> Any:  # type: ignore[override]  # as above
        """Look many entries up."""
        keys, fit = decoded
        validation.check_batch("requests", keys)
        tenant = current_call().principal.tenant
        bad = None if fit else validation.bad_keys("requests", keys)
        asked = [key for index, key in enumerate(keys) if index not in bad] if bad else keys
        if self._tier.left:
            await self._tier.bring(tenant, asked)
        with self._batch_get as cache:
            found = cache.get_many(tenant, asked)
            whole = None if bad else wire.all_found(found, self._max_message_bytes)
            if whole is not None:
                return whole
            answers: Sequence[bytes | Message | None] = self._opening.all_sent(cache, found)
            if bad:
                answers = convert.with_errors(answers, bad)
            results = self._results(len(keys))
            results.looked_up(answers, excess=lambda: convert.get_error(no_room()))
        return results.serialized()

    async def BatchPeek(
        self, request: cache_pb2.BatchPeekRequest, _context: Context
    ) -> cache_pb2.BatchPeekResponse:
        """Say which keys have an entry."""
        validation.check_batch("requests", request.requests)
        tenant, room = _tenant(), self._results(len(request.requests))
        with self._peek as cache:

            def peek(field: str, each: _PeekRequest, result: _PeekResult) -> None:
                validation.check_key(f"{field}key", each.key)
                entry = cache.peek(Address(tenant, each.key))
                encoded = None if entry is None else self._opening.peeked(entry)
                result.value.present = encoded is not None
                if encoded is not None and request.with_entries:
                    result.value.entry.MergeFromString(fitting(encoded, room))

            return answer_each(request.requests, cache_pb2.BatchPeekResponse(), peek)

    async def Set(self, request: cache_pb2.SetRequest, _context: Context) -> cache_pb2.SetResponse:
        """Store one entry."""
        with self._set as cache:
            return self._stored(cache, request, field="", tenant=_tenant())

    async def BatchSet(
        self, request: cache_pb2.BatchSetRequest, _context: Context
    ) -> cache_pb2.BatchSetResponse:
        """Store many entries."""
        validation.check_batch("requests", request.requests)
        tenant = _tenant()
        with self._batch_set as cache:

            def store(field: str, each: cache_pb2.SetRequest, result: _SetResult) -> None:
                result.value.CopyFrom(self._stored(cache, each, field=field, tenant=tenant))

            return answer_each(request.requests, cache_pb2.BatchSetResponse(), store)

    async def Delete(self, request: cache_pb2.DeleteRequest, _context: Context) -> cache_pb2.DeleteResponse:
        """Remove one entry."""
        validation.check_key("key", request.key)
        await self._tier.bring(_tenant(), (request.key,))
        with self._delete as cache:
            return cache_pb2.DeleteResponse(deleted=cache.delete(Address(_tenant(), request.key)))

    async def BatchDelete(
        self, request: cache_pb2.BatchDeleteRequest, _context: Context
    ) -> cache_pb2.BatchDeleteResponse:
        """Remove many entries."""
        validation.check_batch("requests", request.requests)
        tenant = _tenant()
        await self._tier.bring(tenant, (each.key for each in request.requests))
        with self._batch_delete as cache:

            def delete(field: str, each: cache_pb2.DeleteRequest, result: _DeleteResult) -> None:
                validation.check_key(f"{field}key", each.key)
                result.value.deleted = cache.delete(Address(tenant, each.key))

            return answer_each(request.requests, cache_pb2.BatchDeleteResponse(), delete)

    async def BatchAcquire(self, request: cache_pb2.BatchAcquireRequest, _context: Context) -> Any:
        """Find entries, or make the caller the one who generates them."""
        validation.check_batch("requests", request.requests)
        validation.check_holder(request)
        ttl_s = validation.lease_ttl_s(request)
        tenant, results = _tenant(), self._results(len(request.requests))
        await self._tier.bring(tenant, (each.key for each in request.requests))
        with self._acquire as cache:
            acquire_each(request, results, cache, self._opening, tenant=tenant, ttl_s=ttl_s)
        return results.serialized()

    async def AwaitEntries(
        self, request: cache_pb2.AwaitEntriesRequest, _context: Context
    ) -> AsyncGenerator[Any, None]:
        """Send each key when it is decided."""
        validation.check_keys_once(request.keys)
        if request.holder:
            validation.check_holder(request)
        claim = convert.claim_of(request, validation.lease_ttl_s(request))
        tenant = _tenant()
        addresses = [Address(tenant, key) for key in request.keys]
        async with aclosing(self._live.decisions(self._await, addresses, claim)) as decisions:
            async for decided in decisions:
                room = self._room(len(decided))
                opened = self._opening.decided(decided)
                for message in wire.awaited_entries(opened, room=room, inherited=self._inherited):
                    yield message

    async def BatchFill(
        self, request: cache_pb2.BatchFillRequest, _context: Context
    ) -> cache_pb2.BatchFillResponse:
        """Store generated entries and end their leases."""
        validation.check_batch("requests", request.requests)
        tenant = _tenant()
        with self._fill as cache:

            def fill(field: str, each: cache_pb2.BatchFillRequest.FillRequest, result: _FillResult) -> None:
                entry = self._entry(each, field, tenant=tenant, cache=cache)
                outcome = cache.fill(entry, each.lease_token, keep=not each.pass_on_only)
                result.value = convert.fill_outcome(outcome)

            return answer_each(request.requests, cache_pb2.BatchFillResponse(), fill)

    async def BatchRenewLeases(
        self, request: cache_pb2.BatchRenewLeasesRequest, _context: Context
    ) -> cache_pb2.BatchRenewLeasesResponse:
        """Extend leases."""
        validation.check_batch("requests", request.requests)
        ttl_s = validation.lease_ttl_s(request)
        tenant = _tenant()
        with self._renew as cache:

            def renew(field: str, each: _RenewRequest, result: _RenewResult) -> None:
                _check_lease(field, each)
                lease = cache.renew(Address(tenant, each.key), each.lease_token, ttl_s=ttl_s)
                result.value.CopyFrom(convert.lease_message(lease, cache))

            return answer_each(request.requests, cache_pb2.BatchRenewLeasesResponse(), renew)

    async def BatchRelease(
        self, request: cache_pb2.BatchReleaseRequest, _context: Context
    ) -> cache_pb2.BatchReleaseResponse:
        """Give leases back."""
        validation.check_batch("requests", request.requests)
        tenant = _tenant()
        with self._release as cache:

            def release(field: str, each: _ReleaseRequest, result: _ReleaseResult) -> None:
                _check_lease(field, each)
                result.value.released = cache.release(Address(tenant, each.key), each.lease_token)

            return answer_each(request.requests, cache_pb2.BatchReleaseResponse(), release)

    async def Purge(self, request: cache_pb2.PurgeRequest, _context: Context) -> cache_pb2.PurgeResponse:
        """Remove what is selected, for good."""
        validation.check_purge(request)
        purged = await self._purging.purge(_tenant(), convert.selector_of(request), convert.mode_of(request))
        return cache_pb2.PurgeResponse(purged_entries=purged)

    async def BatchFindSimilar(
        self, request: cache_pb2.BatchFindSimilarRequest, _context: Context
    ) -> cache_pb2.BatchFindSimilarResponse:
        """Find answers to prompts that say the same."""
        room = self._room(len(request.requests))
        return await similar.find_similar(
            self._semantic, request, tenant=_tenant(), room=room, opened=self._opened
        )

    async def BatchLearnSimilar(
        self, request: cache_pb2.BatchLearnSimilarRequest, _context: Context
    ) -> cache_pb2.BatchLearnSimilarResponse:
        """Note what came of them."""
        return await similar.learn_similar(self._semantic, request, tenant=_tenant())

    async def GetStats(
        self, request: cache_pb2.GetStatsRequest, _context: Context
    ) -> cache_pb2.GetStatsResponse:
        """Return the tenant's statistics, and if asked for why they are so."""
        with self._stats as cache:
            explanation = self._insight.explain(cache, _tenant()) if request.explain else None
            message = insight_message.explained_stats(cache, _tenant(), explanation)
            message.compression.CopyFrom(convert.compression_message(self._compression, _tenant()))
            return message

    async def Warm(
        self, requests: AsyncIterable[cache_pb2.WarmRequest], _context: Context
    ) -> cache_pb2.WarmResponse:
        """Store entries where there is free room."""
        response = cache_pb2.WarmResponse()
        tenant = _tenant()
        async for request in requests:
            validation.check_batch("requests", request.requests)
            with self._warm as cache:
                for field, each in numbered(request.requests):
                    entry = self._entry(each, field, tenant=tenant, cache=cache)
                    kept = store_if_free(cache, entry, self._tier)
                    insight_message.count_kept(response, kept, cache.bytes_of(entry))
        return response

    async def StartWarming(
        self, request: cache_pb2.StartWarmingRequest, _context: Context
    ) -> cache_pb2.StartWarmingResponse:
        """Begin to bring what is stored into free memory."""
        validation.check_warming(request)
        warming = self._warmings.start(_tenant(), insight_message.plan_of(request))
        return cache_pb2.StartWarmingResponse(warming=insight_message.warming_message(warming))

    async def GetWarming(
        self, request: cache_pb2.GetWarmingRequest, _context: Context
    ) -> cache_pb2.GetWarmingResponse:
        """Return how far a warming has come."""
        validation.check_warming_id(request.warming_id)
        warming = self._warmings.get(_tenant(), request.warming_id)
        return cache_pb2.GetWarmingResponse(warming=insight_message.warming_message(warming))

    async def CancelWarming(
        self, request: cache_pb2.CancelWarmingRequest, _context: Context
    ) -> cache_pb2.CancelWarmingResponse:
        """End a warming."""
        validation.check_warming_id(request.warming_id)
        warming = await self._warmings.cancel(_tenant(), request.warming_id)
        return cache_pb2.CancelWarmingResponse(warming=insight_message.warming_message(warming))

    def _stored(
        self, cache: ContentCache, request: cache_pb2.SetRequest, *, field: str, tenant: str
    ) -> cache_pb2.SetResponse:
        entry = self._entry(request, field, tenant=tenant, cache=cache)
        cache.set(entry)
        return cache_pb2.SetResponse(expire_time=convert.timestamp(entry.expire_time))

    def _entry(
        self,
        request: cache_pb2.SetRequest | cache_pb2.BatchFillRequest.FillRequest,
        field: str,
        *,
        tenant: str,
        cache: ContentCache,
    ) -> Entry:
        return convert.entry_of(request, field, tenant=tenant, cache=cache, default_ttl=self._default_ttl)

    def _opened(self, match: Match) -> Match:
        with self._similar as cache:
            return similar.opened(match, cache, self._opening)

    def _inherited(self, lease: Lease) -> bytes:
        return convert.inherited(lease, self._live.cache)

    def _results(self, count: int) -> wire.BatchResults:
        return wire.BatchResults(self._room(count))

    def _room(self, count: int) -> int:
        return self._max_message_bytes - count * _FRAME_BYTES


def _tenant() -> str:
    return current_call().principal.tenant


def _check_lease(
    field: str,
    request: cache_pb2.BatchRenewLeasesRequest.RenewLeaseRequest
    | cache_pb2.BatchReleaseRequest.ReleaseRequest,
) -> None:
    validation.check_key(f"{field}key", request.key)
    validation.check_token(f"{field}lease_token", request.lease_token)
