"""Which version of each template is active, for all tenants, in memory, and who wants to know of changes.

Changes arrive from this process's own writes and from following the store, in any order and more than once:
the higher revision of a template wins. The store is the truth; this is what the hot path reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from prompt_optimizer.templates.template import Template

BUILT_IN = ""
"""The tenant of built-in templates, which belong to none."""

Name: TypeAlias = tuple[str, str]
"""A tenant and a template id."""


@dataclass(frozen=True, slots=True)
class _Entry:
    revision: int
    template: Template | None


class Subscription:
    """What changed since one watcher last asked: names only, so a slow watcher costs little."""

    def __init__(self, tenant: str | None, names: Iterable[Name]) -> None:
        """Begin with everything there is.

        Args:
            tenant: Whose changes, with the built-in ones; None for every tenant's.
            names: All names now.
        """
        self._tenant = tenant
        self._pending: dict[Name, None] = dict.fromkeys(each for each in names if self._covers(each))
        self._changed = asyncio.Event()
        self._closed = False

    def _covers(self, name: Name) -> bool:
        return self._tenant is None or name[0] in {self._tenant, BUILT_IN}

    def notify(self, name: Name) -> None:
        """Note a change."""
        if self._covers(name):
            self._pending[name] = None
            self._changed.set()

    def take(self) -> list[Name]:
        """Return what changed and forget it."""
        taken = list(self._pending)
        self._pending.clear()
        self._changed.clear()
        return taken

    async def changed(self) -> bool:
        """Wait for a change; False when there will be none because the service stops."""
        await self._changed.wait()
        return not self._closed

    def close(self) -> None:
        """End the wait for good."""
        self._closed = True
        self._changed.set()


class Catalogue:
    """The state of every template, by tenant and id.

    Not there to persist anything: whoever opens it fills it from the store first.
    """

    def __init__(self, built_in: Iterable[Template]) -> None:
        self._built_in: Mapping[str, Template] = {each.template_id: each for each in built_in}
        self._own: dict[Name, _Entry] = {}
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def find(self, tenant: str, template_id: str) -> Template | None:
        """Return the tenant's own template, else the built-in one, else None."""
        entry = self._own.get((tenant, template_id))
        if entry is not None and entry.template is not None:
            return entry.template
        return self._built_in.get(template_id)

    def get(self, name: Name) -> Template | None:
        """Return exactly this tenant's template, or with tenant `BUILT_IN` the built-in one."""
        tenant, template_id = name
        if tenant == BUILT_IN:
            return self._built_in.get(template_id)
        entry = self._own.get(name)
        return entry.template if entry else None

    def put(self, tenant: str, template: Template) -> None:
        """Take a template's state, unless a newer one is known."""
        self._apply((tenant, template.template_id), _Entry(template.revision, template))

    def remove(self, tenant: str, tombstone: Template) -> None:
        """Take note of a deletion, unless something newer is known."""
        self._apply((tenant, tombstone.template_id), _Entry(tombstone.revision, None))

    def _apply(self, name: Name, entry: _Entry) -> None:
        before = self._own.get(name)
        if before is not None and before.revision >= entry.revision:
            return
        self._own[name] = entry
        if _active(before) != _active(entry):
            for each in self._subscriptions:
                each.notify(name)

    def subscribe(self, tenant: str | None) -> Subscription:
        """Begin to tell a watcher of changes; its first `take` returns all there is."""
        subscription = Subscription(tenant, self._names())
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop telling it."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription, and those to come."""
        self._closed = True
        for each in self._subscriptions:
            each.close()

    def _names(self) -> Iterator[Name]:
        yield from ((BUILT_IN, each) for each in self._built_in)
        yield from (name for name, entry in self._own.items() if entry.template is not None)


def _active(entry: _Entry | None) -> object:
    if entry is None or entry.template is None:
        return None
    return (entry.template.family, entry.template.active_version)
