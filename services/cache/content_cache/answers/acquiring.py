"""Answers each key of a BatchAcquire: with its entry, with a lease, or with who has that."""

from __future__ import annotations

from contentfactory.cache.v1 import cache_pb2
from service_common.errors import ServiceError

from content_cache import convert, validation
from content_cache.answers import wire
from content_cache.answers.results import fitting, numbered
from content_cache.cache import ContentCache
from content_cache.compression.opening import Opening
from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import Stale


def acquire_each(
    request: cache_pb2.BatchAcquireRequest,
    results: wire.BatchResults,
    cache: ContentCache,
    opening: Opening,
    *,
    tenant: str,
    ttl_s: float,
) -> None:
    """Add one result per request, an error in its place.

    Args:
        request: Who asks for what.
        results: Where results go, as long as there is room.
        cache: Within a turn.
        opening: Unpacks what is found.
        tenant: Whose keys they are.
        ttl_s: How long a lease lasts.
    """
    for field, each in numbered(request.requests):
        try:
            validation.check_key(f"{field}key", each.key)
            address = Address(tenant, each.key)
            found = opening.acquire(
                cache, address, holder=request.holder, epoch=request.holder_epoch, ttl_s=ttl_s
            )
            _add(found, results, cache, holder=request.holder)
        except ServiceError as error:
            results.add(convert.acquire_error(error))


def _add(
    found: Entry | Lease | Stale, results: wire.BatchResults, cache: ContentCache, *, holder: str
) -> None:
    if isinstance(found, Entry):
        results.hit(fitting(found.encoded, results))
    elif isinstance(found, Stale):
        fitting(found.entry.encoded, results)
        results.add(convert.stale(found, cache))
    elif found.holder == holder:
        results.add(convert.leased(found, cache))
    else:
        results.add(convert.busy(found, cache))
