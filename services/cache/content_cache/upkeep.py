"""Gives back what expired entries take, in memory and in the store, without ever holding up a call."""

from __future__ import annotations

import asyncio

import structlog
from service_common.errors import ServiceError

from content_cache.live import Turn
from content_cache.repository import EntryRepository

SLICE = 500
"""Most entries removed without letting calls through; takes about two milliseconds."""

_STORE_EVERY_S = 60.0
_STORE_SLICE = 500
_log = structlog.get_logger("content_cache.upkeep")


async def sweep_memory(turn: Turn, interval_s: float) -> None:
    """Remove expired entries for ever.

    Args:
        turn: The turns it takes, on a cache that is open.
        interval_s: Seconds between rounds.
    """
    while True:
        await asyncio.sleep(interval_s)
        while sweep_slice(turn) == SLICE:  # noqa: ASYNC110 - lets calls through between slices, polls nothing
            await asyncio.sleep(0)


def sweep_slice(turn: Turn) -> int:
    """Remove up to `SLICE` expired entries and return how many."""
    with turn as cache:
        return cache.sweep(SLICE)


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
