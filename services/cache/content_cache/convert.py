"""Between messages and the cache's own values; pure, and without opinions of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from contentfactory.cache.v1 import cache_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from service_common.errors import ServiceError, invalid_field
from service_common.rpc.fields import Fields
from service_common.rpc.status import to_status

from content_cache.cache import ContentCache
from content_cache.compression.counts import Packed
from content_cache.compression.parts import Compression
from content_cache.entry import Address, Entry
from content_cache.holding.rules import Kind, Mode, Selector
from content_cache.leasing.leases import Lease, era_of_token
from content_cache.leasing.outcomes import FillOutcome, Stale
from content_cache.leasing.waiting import Claim
from content_cache.validation import (
    check_content,
    check_key,
    expire_time,
    generation_s,
    stale_s,
    template_tag,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FILL_OUTCOMES = {
    FillOutcome.FILLED: cache_pb2.FILL_OUTCOME_FILLED,
    FillOutcome.STORED_WITHOUT_LEASE: cache_pb2.FILL_OUTCOME_STORED_WITHOUT_LEASE,
    FillOutcome.SUPERSEDED: cache_pb2.FILL_OUTCOME_SUPERSEDED,
    FillOutcome.PURGED: cache_pb2.FILL_OUTCOME_PURGED,
    FillOutcome.PASSED_ON: cache_pb2.FILL_OUTCOME_PASSED_ON,
}


def entry_of(
    request: cache_pb2.SetRequest | cache_pb2.BatchFillRequest.FillRequest,
    field: str,
    *,
    tenant: str,
    cache: ContentCache,
    default_ttl: timedelta,
) -> Entry:
    """Return the entry a request stores.

    Args:
        request: The request.
        field: Where it stands, as a prefix of its fields' names, e.g. `requests[3].`.
        tenant: Whose it is.
        cache: Where it is to go; its turn is the time of arrival.
        default_ttl: How long it is served when the request does not say.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the bad fields.
    """
    check_key(f"{field}key", request.key)
    if not request.HasField("content"):
        raise invalid_field(f"{field}content", "is required")
    content = request.content
    check_content(f"{field}content", content)
    expires = expire_time(f"{field}content", content, now=cache.now, default_ttl=default_ttl)
    return Entry(
        address=Address(tenant, request.key),
        encoded=_encoded(request.key, content, created=cache.now, expires=expires),
        cost_micros=content.cost_micros,
        create_time=cache.now,
        expire_time=expires,
        tags=cache.labels.shared(tenant, content.tags),
        era=_era(request, tenant, cache),
        stale_s=stale_s(f"{field}content", content, expires),
        generation_s=generation_s(f"{field}content", content),
    )


def _era(
    request: cache_pb2.SetRequest | cache_pb2.BatchFillRequest.FillRequest, tenant: str, cache: ContentCache
) -> int:
    """Return when the making of content began: with its lease if there was one, else now.

    Never later than now, whatever a token says: no purge to come would cover it.
    """
    now = cache.rules.era(tenant)
    if isinstance(request, cache_pb2.BatchFillRequest.FillRequest) and request.lease_token:
        return min(now, era_of_token(request.lease_token))
    return now


def _encoded(key: str, content: cache_pb2.EntryContent, *, created: datetime, expires: datetime) -> bytes:
    times: Fields = {"create_time": _timestamp_fields(created), "expire_time": _timestamp_fields(expires)}
    message = cache_pb2.Entry(
        key=key,
        value=content.value,
        content_type=content.content_type,
        tags=content.tags,
        checksum=content.checksum or sha256(content.value).digest(),
        cost_micros=content.cost_micros,
        **times,
    )
    message.metadata.MergeFrom(content.metadata)  # given to the constructor it would be copied pair by pair
    if content.HasField("stale_window"):
        message.stale_window.CopyFrom(content.stale_window)
    return message.SerializeToString()


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as a message."""
    return Timestamp(**_timestamp_fields(moment))


def _timestamp_fields(moment: datetime) -> Fields:
    seconds, micros = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return {"seconds": seconds, "nanos": micros * 1000}


def lease_message(lease: Lease, cache: ContentCache) -> cache_pb2.Lease:
    """Return a lease with its end on the calendar."""
    return cache_pb2.Lease(**_lease_fields(lease, cache))


def _lease_fields(lease: Lease, cache: ContentCache) -> Fields:
    return {
        "key": lease.address.key,
        "token": lease.token,
        "expire_time": _timestamp_fields(lease_end(lease, cache)),
    }


def lease_end(lease: Lease, cache: ContentCache) -> datetime:
    """Return when a lease ends unless renewed."""
    return cache.now + timedelta(seconds=cache.remaining_s(lease))


def leased(lease: Lease, cache: ContentCache) -> cache_pb2.BatchAcquireResponse.Result:
    """Return the result for a caller that holds the lease."""
    value: Fields = {"outcome": cache_pb2.ACQUIRE_OUTCOME_LEASED, "lease": _lease_fields(lease, cache)}
    fields: Fields = {"value": value}
    return cache_pb2.BatchAcquireResponse.Result(**fields)


def busy(lease: Lease, cache: ContentCache) -> cache_pb2.BatchAcquireResponse.Result:
    """Return the result for a caller that must wait for another's lease."""
    return cache_pb2.BatchAcquireResponse.Result(
        value=cache_pb2.BatchAcquireResponse.Acquisition(
            outcome=cache_pb2.ACQUIRE_OUTCOME_BUSY, busy_until=timestamp(lease_end(lease, cache))
        )
    )


def stale(found: Stale, cache: ContentCache) -> cache_pb2.BatchAcquireResponse.Result:
    """Return the result for a caller that may use what has expired, and perhaps is to refresh it."""
    result = cache_pb2.BatchAcquireResponse.Result()
    result.value.outcome = cache_pb2.ACQUIRE_OUTCOME_STALE
    result.value.entry.ParseFromString(found.entry.encoded)
    if found.lease is not None:
        result.value.lease.CopyFrom(lease_message(found.lease, cache))
    return result


def inherited(lease: Lease, cache: ContentCache) -> bytes:
    """Return the AwaitedEntry of a waiter that has the lease now, serialised."""
    return cache_pb2.AwaitEntriesResponse.AwaitedEntry(
        key=lease.address.key, outcome=cache_pb2.AWAIT_OUTCOME_LEASED, lease=lease_message(lease, cache)
    ).SerializeToString()


def claim_of(request: cache_pb2.AwaitEntriesRequest, ttl_s: float) -> Claim | None:
    """Return how a waiter takes over what is lost."""
    return Claim(request.holder, request.holder_epoch, ttl_s) if request.holder else None


def selector_of(request: cache_pb2.PurgeRequest) -> Selector:
    """Return what a checked request purges."""
    chosen = request.WhichOneof("selector")
    if chosen == "tag":
        return Selector(Kind.TAG, request.tag)
    if chosen == "key_prefix":
        return Selector(Kind.PREFIX, request.key_prefix)
    if chosen == "template_version":
        version = request.template_version
        return Selector(Kind.TAG, template_tag(version.template_id, version.version))
    return Selector(Kind.ALL)


def mode_of(request: cache_pb2.PurgeRequest) -> Mode:
    """Return what becomes of what is purged."""
    return Mode.LEAVE_FIRST if request.mode == cache_pb2.PURGE_MODE_LEAVE_FIRST else Mode.DELETE


def acquire_error(error: ServiceError) -> cache_pb2.BatchAcquireResponse.Result:
    """Return the result of a key that could not be acquired."""
    return cache_pb2.BatchAcquireResponse.Result(error=to_status(error))


def get_error(error: ServiceError) -> cache_pb2.BatchGetResponse.Result:
    """Return the result of a key that could not be looked up."""
    return cache_pb2.BatchGetResponse.Result(error=to_status(error))


def with_errors(
    answers: Sequence[bytes | Message | None], errors: Mapping[int, ServiceError]
) -> Sequence[bytes | Message | None]:
    """Return lookups' answers with the errors of what could not be looked up in their places."""
    whole = [*answers]
    for index, error in errors.items():
        whole.insert(index, get_error(error))
    return whole


def fill_outcome(outcome: FillOutcome) -> cache_pb2.FillOutcome.ValueType:
    """Return an outcome as the contract names it."""
    return _FILL_OUTCOMES[outcome]


def stats_message(cache: ContentCache, tenant: str) -> cache_pb2.GetStatsResponse:
    """Return a tenant's statistics."""
    counters = cache.counters(tenant)
    return cache_pb2.GetStatsResponse(
        hits=counters.hits,
        misses=counters.misses,
        hit_ratio=counters.hit_ratio,
        entries=counters.entries,
        size_bytes=counters.size_bytes,
        capacity_bytes=cache.max_bytes,
        evictions=counters.evictions,
        expirations=counters.expirations,
        active_leases=cache.active_leases(tenant),
        saved_micros=counters.saved_micros,
        start_time=timestamp(cache.start_time),
        stale_hits=counters.stale_hits,
        purged=counters.purged,
        quota_evictions=counters.quota_evictions,
    )


def compression_message(compression: Compression, tenant: str) -> cache_pb2.CompressionStats:
    """Return what compression came to for a tenant."""
    packed = compression.counts.tenants.get(tenant, Packed())
    return cache_pb2.CompressionStats(
        packed_entries=packed.entries,
        bytes_before=packed.bytes_before,
        bytes_after=packed.bytes_after,
        dictionaries=[
            cache_pb2.CompressionStats.Dictionary(
                id=each.dictionary.id,
                version=each.dictionary.version,
                create_time=timestamp(each.dictionary.create_time),
                size_bytes=each.dictionary.size_bytes,
                sampled_entries=each.dictionary.samples,
                packed_entries=each.packed.entries,
                bytes_before=each.packed.bytes_before,
                bytes_after=each.packed.bytes_after,
            )
            for each in compression.dictionaries.of_tenant(tenant)
        ],
    )
