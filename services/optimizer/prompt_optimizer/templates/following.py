"""Keeps the catalogue level with the store, so that every process on it sees every change within a bound.

The bound is the poll interval plus one query. While the store is away the catalogue stays as it was.
"""

from __future__ import annotations

from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.stored import StoredTemplates


class Follower:
    """Asks the store for what changed since it last asked."""

    def __init__(self, stored: StoredTemplates, catalogue: Catalogue) -> None:
        self._stored = stored
        self._catalogue = catalogue
        self._seen = 0

    async def sync(self) -> None:
        """Take over what changed; the first time, all there is.

        Raises:
            ServiceError: UNAVAILABLE when the store is out of reach; nothing is lost by trying again.
        """
        changed, seen = await self._stored.changed_since(self._seen)
        for each in changed:
            if each.deleted:
                self._catalogue.remove(each.tenant, each.template)
            else:
                self._catalogue.put(each.tenant, each.template)
        self._seen = seen
