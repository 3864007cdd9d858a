"""Keeps the catalogue level with the store, so that every process on it sees every change within a bound.

The store tells of changes; while it does not, the bound is the poll interval plus one query. While the store
is away the catalogue stays as it was.
"""

from __future__ import annotations

import asyncio

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError
from service_common.storage import Feed

from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.stored import StoredTemplates

SAFETY_S = 30.0
"""How often it asks although it would be told: a connection may have died without a word."""

_log = structlog.get_logger("prompt_optimizer.templates.following")


class Follower:
    """Asks the store for what changed since it last asked.

    Its mutable state: the last revision it has seen, and when to ask again at the latest.
    """

    def __init__(self, stored: StoredTemplates, catalogue: Catalogue, *, clock: Clock) -> None:
        self._stored = stored
        self._catalogue = catalogue
        self._clock = clock
        self._seen = 0
        self._ask_by = clock.monotonic()

    async def follow(self, feed: Feed, *, interval_s: float) -> None:
        """Take over every change, for ever: as the feed tells of it, or every interval while it does not."""
        while True:
            await self._told_or_due(feed, interval_s)
            try:
                await self.sync()
            except ServiceError as error:
                self._ask_by = self._clock.monotonic()
                _log.warning("follow_failed", reason=error.reason, kept="the state known before")

    async def _told_or_due(self, feed: Feed, interval_s: float) -> None:
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    await feed.changed()
            except TimeoutError:
                if feed.is_live and self._clock.monotonic() < self._ask_by:
                    continue
            return

    async def sync(self) -> None:
        """Take over what changed; the first time, all there is.

        Raises:
            ServiceError: UNAVAILABLE when the store is out of reach; nothing is lost by trying again.
        """
        asked_at = self._clock.monotonic()
        changed, seen = await self._stored.changed_since(self._seen)
        for each in changed:
            if each.deleted:
                self._catalogue.remove(each.tenant, each.template)
            else:
                self._catalogue.put(each.tenant, each.template)
        self._seen = seen
        self._ask_by = asked_at + SAFETY_S
