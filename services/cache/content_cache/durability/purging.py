"""Purges: durable before anything else happens, then done in memory in slices that let calls through.

What is stored and not in memory is compared with the rules by whoever reads it later; what is known of it
here is removed from the store as well, so that its bytes go too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

import structlog
from service_common.errors import ServiceError

from content_cache.cache import ContentCache
from content_cache.durability.read_through import ReadThrough
from content_cache.entry import Address
from content_cache.holding.rules import Kind, Mode, Rule, Selector, TenantRules
from content_cache.live import Turn
from content_cache.repository.purges import PurgeRepository

SLICE = 500
"""Most entries looked at without letting calls through; takes about two milliseconds."""

_RETRY_S = 1.0
_LOOK_S = 60.0
_log = structlog.get_logger("content_cache.durability.purging")


class Purging:
    """Carries out the purges of this replica and follows those of the others."""

    def __init__(
        self,
        repository: PurgeRepository,
        turn: Turn,
        stored: ReadThrough,
        *,
        all_purged: Callable[[str, int], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare.

        Args:
            repository: Where purges are kept.
            turn: The turns they take.
            stored: What is in the store and not in memory.
            all_purged: Is told when all of a tenant made before an era is gone, to end what was made of it.
        """
        self._all_purged = all_purged
        self._stored = stored
        self._repository = repository
        self._turn = turn
        # One at a time: who purged answers for all of it, also when its own signal comes back meanwhile.
        self._lock = asyncio.Lock()
        self._under_way: set[asyncio.Task[int]] = set()

    async def purge(self, tenant: str, selector: Selector, mode: Mode) -> int:
        """Purge a tenant's entries; return how many there were.

        Raises:
            ServiceError: UNAVAILABLE if the store does not take it; nothing was purged, unless its answer was
                lost: repeat it.
        """
        with self._turn:
            pass  # while content is loading nothing can be said to be gone
        task = asyncio.create_task(self._carry_out(tenant, selector, mode))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # A caller that leaves does not leave half a purge behind.
        return await asyncio.shield(task)

    async def follow(self) -> None:
        """Apply what other replicas purge, for ever; a store that is away is asked again."""
        async with self._repository.watch() as feed:
            while True:
                # A feed may be dead for a minute before it knows; looking costs one read.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await feed.changed()
                await self._catch_up()

    async def _carry_out(self, tenant: str, selector: Selector, mode: Mode) -> int:
        async with self._lock:
            rules = await self._repository.add(tenant, selector, mode)
            return await self._apply(tenant, rules)

    async def _apply(self, tenant: str, rules: TenantRules) -> int:
        """Do what rules say; return how many entries they concerned."""
        with self._turn as cache:
            new = cache.rules.learn(tenant, rules)
            addresses = _candidates(cache, tenant, new)
            left = self._stored.of_tenant(tenant) if new else []
        changed = 0
        for part in _slices(addresses):
            await asyncio.sleep(0)
            with self._turn as cache:
                changed += sum(map(cache.enforce, part))
        for part in _slices(left):
            await asyncio.sleep(0)
            changed += sum(self._stored.enforce(address, cache.rules) for address in part)
        if self._all_purged is not None and any(each.selector.kind is Kind.ALL for each in new):
            await self._all_purged(tenant, rules.floor)
        return changed

    async def _catch_up(self) -> None:
        while True:
            try:
                async with self._lock:
                    for tenant, rules in await self._repository.changed():
                        await self._apply(tenant, rules)
            except ServiceError as error:
                _log.warning("purges_unknown", reason=error.reason)
                await asyncio.sleep(_RETRY_S)
            else:
                return


def _slices(addresses: Sequence[Address]) -> Iterator[Sequence[Address]]:
    for start in range(0, len(addresses), SLICE):
        yield addresses[start : start + SLICE]


def _candidates(cache: ContentCache, tenant: str, new: Sequence[Rule]) -> list[Address]:
    """Return the addresses that new rules may concern."""
    if any(each.selector.kind is not Kind.TAG for each in new):
        return cache.labels.of_tenant(tenant)
    found: list[Address] = []
    for each in new:
        found.extend(cache.labels.tagged(tenant, each.selector.value))
    return found
