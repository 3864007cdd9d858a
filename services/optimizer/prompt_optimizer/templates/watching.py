"""What a watcher is told: first all that is active, then each change, in portions of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from service_common.errors import unavailable

from prompt_optimizer.templates.catalogue import Catalogue, Name, Subscription
from prompt_optimizer.templates.shelf import Shelf
from prompt_optimizer.templates.source import TemplateVersion
from prompt_optimizer.templates.template import VersionKey

# A version has at most 64 KiB of messages and 128 KiB of defaults: sixteen fit in a message of 4 MiB.
_PORTION = 16


@dataclass(frozen=True, slots=True)
class ActiveVersions:
    """One portion of news.

    Attributes:
        active: Tenants and the versions that are active now.
        deleted: Templates that are no more.
        synchronized: Whether the state as of the start is complete with this.
    """

    active: Sequence[tuple[str, TemplateVersion]] = ()
    deleted: Sequence[Name] = ()
    synchronized: bool = False


class Watching:
    """Tells watchers about active versions."""

    def __init__(self, catalogue: Catalogue, shelf: Shelf) -> None:
        self._catalogue = catalogue
        self._shelf = shelf

    async def watch(self, tenant: str | None) -> AsyncGenerator[ActiveVersions, None]:
        """Yield all that is active, then changes; several changes of one template may arrive as the last.

        Args:
            tenant: Whose, with the built-in ones; None for every tenant's.

        Raises:
            ServiceError: UNAVAILABLE when the service stops, or cannot read a version.
        """
        subscription = self._catalogue.subscribe(tenant)
        try:
            async for portion in self._portions(subscription):
                yield portion
            yield ActiveVersions(synchronized=True)
            while await subscription.changed():
                async for portion in self._portions(subscription):
                    yield portion
        finally:
            self._catalogue.unsubscribe(subscription)
        raise unavailable("DRAINING", "the optimizer is shutting down; watch again")

    async def _portions(self, subscription: Subscription) -> AsyncIterator[ActiveVersions]:
        names = subscription.take()
        for start in range(0, len(names), _PORTION):
            yield await self._portion(names[start : start + _PORTION])

    async def _portion(self, names: Sequence[Name]) -> ActiveVersions:
        active: list[tuple[str, TemplateVersion]] = []
        deleted: list[Name] = []
        for name in names:
            version = await self._active(name)
            if version is None:
                deleted.append(name)
            else:
                active.append((name[0], version))
        return ActiveVersions(active, deleted)

    async def _active(self, name: Name) -> TemplateVersion | None:
        template = self._catalogue.get(name)
        if template is None:
            return None
        key = VersionKey(template.family, template.active_version)
        found = await self._shelf.fetch(name[0], [key])
        # Absent when the template was deleted meanwhile: the deletion is news of its own.
        return found[key].version if key in found else None
