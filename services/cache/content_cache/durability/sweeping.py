"""Gives back what expired entries take, in memory and in the store, without ever holding up a call."""

from __future__ import annotations

import asyncio

import structlog
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.repository.entries import EntryRepository
from content_cache.slices import Slices

_STORE_EVERY_S = 60.0
_STORE_SLICE = 500
_log = structlog.get_logger("content_cache.durability.sweeping")


async def sweep_memory(slices: Slices, interval_s: float) -> None:
    """Remove expired entries for ever.

    Args:
        slices: How it works.
        interval_s: Seconds between rounds.
    """
    while True:
        await asyncio.sleep(interval_s)
        await slices.run(ContentCache.sweep)


async def sweep_store(repository: EntryRepository) -> None:
    """Remove what no one needs for ever, in slices; a store that is away is tried in the next round."""
    while True:
        await asyncio.sleep(_STORE_EVERY_S)
        try:
            while await repository.sweep_expired() == _STORE_SLICE:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            for _ in range(repository.directory.slices):
                while await repository.compact():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
        except ServiceError as error:
            _log.warning("sweep_failed", reason=error.reason)
