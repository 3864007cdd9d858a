"""Keeps the note of what is in demand current, and takes it up again at a start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.entry import Address
from content_cache.eviction import EvictionPolicy
from content_cache.learning.accesses import Accesses
from content_cache.repository.heat import HeatRepository

_MOST_USES_TOLD: Final = 16
_KEEP_UP_S: Final = 1.0
_log = structlog.get_logger("content_cache.durability.heat_upkeep")


def remembering(
    accesses: Accesses, cache: ContentCache, policy: EvictionPolicy
) -> Callable[[Address, int], None]:
    """Return what is told of keys and their uses before a restart, policies that count of each use."""

    def remember(address: Address, uses: int) -> None:
        accesses.heat.remember(address, uses)
        if cache.held(address) is not None:
            for _ in range(min(uses, _MOST_USES_TOLD) - 1):
                policy.used(address)

    return remember


async def keep_up(accesses: Accesses) -> None:
    """Let those who learn from lookups catch up every second, for ever: what they say is shown in metrics."""
    while True:
        await asyncio.sleep(_KEEP_UP_S)
        accesses.catch_up()


async def save_heat(repository: HeatRepository, accesses: Accesses, interval_s: float) -> None:
    """Note what was used last, for ever; a store that is away is tried again the next time."""
    while True:
        await asyncio.sleep(interval_s)
        await note_heat(repository, accesses)


async def note_heat(repository: HeatRepository, accesses: Accesses) -> None:
    """Note what was used last, now; without it the next start knows less, and nothing is lost."""
    accesses.fold()
    try:
        await repository.save(accesses.heat)
    except ServiceError as error:
        _log.warning("heat_not_saved", reason=error.reason)
