"""The active version of every template, as the optimizer last told; used for prompts while it is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import structlog
from service_common.errors import ServiceError

from parallel_processor.jobs.template import TemplateVersion
from parallel_processor.running.outages import Backoff

_log = structlog.get_logger("parallel_processor.running.versions")


@dataclass(frozen=True, slots=True)
class VersionsChanged:
    """What the watch of active versions says.

    Attributes:
        active: Versions that are active now.
        deleted: Pairs of tenant and template that are no more.
        synchronized: Whether everything that is active has been sent.
    """

    active: tuple[TemplateVersion, ...]
    deleted: tuple[tuple[str, str], ...]
    synchronized: bool


class VersionShelf(Protocol):
    """Where versions survive a restart."""

    async def load(self) -> list[TemplateVersion]:
        """Return all versions kept."""
        ...

    async def keep(self, version: TemplateVersion) -> None:
        """Keep a version in place of an earlier one of its template."""
        ...

    async def forget(self, tenant: str, template_id: str) -> None:
        """Forget a template."""
        ...


class VersionWatch(Protocol):
    """Where versions come from."""

    def watch_active_versions(self, *, all_tenants: bool) -> AsyncIterator[VersionsChanged]:
        """Yield the active versions, then every change."""
        ...


class ActiveVersions:
    """Keeps the active versions in memory and on the shelf, and follows the optimizer's changes."""

    def __init__(self, shelf: VersionShelf, watch: VersionWatch, *, all_tenants: bool) -> None:
        self._shelf = shelf
        self._watch = watch
        self._all_tenants = all_tenants
        self._versions: dict[tuple[str, str], TemplateVersion] = {}

    async def load(self) -> None:
        """Take what is on the shelf."""
        for version in await self._shelf.load():
            self._versions[version.tenant, version.template_id] = version

    def active(self, tenant: str, template_id: str) -> TemplateVersion | None:
        """Return the active version of a tenant's own template, else of the built-in one."""
        return self._versions.get((tenant, template_id)) or self._versions.get(("", template_id))

    async def follow(self, rng: random.Random) -> None:
        """Follow the optimizer for ever, reconnecting when the stream breaks."""
        backoff = Backoff(base_s=0.5, cap_s=10.0, rng=rng)
        while True:
            try:
                await self._follow_once(backoff)
            except ServiceError as error:
                _log.info("watch_interrupted", reason=error.reason)
            await asyncio.sleep(backoff.next_s(floor_s=0.2))

    async def _follow_once(self, backoff: Backoff) -> None:
        unseen = set(self._versions)
        async for change in self._watch.watch_active_versions(all_tenants=self._all_tenants):
            backoff.reset()
            for version in change.active:
                unseen.discard((version.tenant, version.template_id))
                await self._take(version)
            gone = set(change.deleted) | (unseen if change.synchronized else set())
            unseen -= gone
            for tenant, template_id in gone & self._versions.keys():
                del self._versions[tenant, template_id]
                await self._shelf.forget(tenant, template_id)

    async def _take(self, version: TemplateVersion) -> None:
        where = version.tenant, version.template_id
        if self._versions.get(where) != version:
            await self._shelf.keep(version)
            self._versions[where] = version
