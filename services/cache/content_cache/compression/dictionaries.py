"""The dictionaries in memory, within a budget of bytes, and what is known of those that are not.

Per tenant the latest is the one to pack with; older ones stay as long as an entry needs them. Every step is
synchronous. What they take counts against the cache's limit like entries.
"""

from __future__ import annotations

from content_cache.cache import ContentCache
from content_cache.compression.dictionary import InUse

Name = tuple[str, str]
"""A tenant and a dictionary's id."""


class Dictionaries:
    """Dictionaries by tenant and id.

    Attributes:
        size_bytes: What they take.
        max_bytes: Most they may take.
        wanted: Those that entries named and that are not here: to be looked for in the store.
        lost: Those that are not in the store either.
    """

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self.max_bytes = max_bytes
        self.wanted: set[Name] = set()
        self.lost: set[Name] = set()
        self._held: dict[str, dict[str, InUse]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def get(self, tenant: str, name: str) -> InUse | None:
        """Return a dictionary of a tenant; never one of another's."""
        held = self._held.get(tenant)
        return None if held is None else held.get(name)

    def latest(self, tenant: str) -> InUse | None:
        """Return the one to pack with."""
        held = self._held.get(tenant)
        return max(held.values(), key=_age) if held else None

    def of_tenant(self, tenant: str) -> list[InUse]:
        """Return a tenant's, the latest first."""
        return sorted(self._held.get(tenant, {}).values(), key=_age, reverse=True)

    def tenants(self) -> list[str]:
        """Return whose there are; safe to call from another thread."""
        return list(self._held)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether one more would stay within the budget."""
        return self.size_bytes + size_bytes <= self.max_bytes

    def has_room_for_old(self, size_bytes: int) -> bool:
        """Tell whether one that was made before may come back: twice the budget, for entries need it."""
        return self.size_bytes + size_bytes <= 2 * self.max_bytes

    def add(self, used: InUse) -> None:
        """Take one in; one that is here already stays as it is."""
        tenant, name = used.dictionary.tenant, used.dictionary.id
        held = self._held.setdefault(tenant, {})
        if name not in held:
            held[name] = used
            self.size_bytes += used.dictionary.size_bytes
        self.wanted.discard((tenant, name))
        self.lost.discard((tenant, name))

    def drop(self, tenant: str, name: str) -> None:
        """Let one go."""
        held = self._held.get(tenant, {})
        used = held.pop(name, None)
        if used is not None:
            self.size_bytes -= used.dictionary.size_bytes
        if not held:
            self._held.pop(tenant, None)

    def account(self, cache: ContentCache) -> None:
        """Count what they take now among what the cache holds, in a turn of it."""
        change = self.size_bytes - cache.sizes.reserved_bytes
        cache.size_bytes += change
        cache.sizes.reserved_bytes += change


def _age(used: InUse) -> tuple[int, str]:
    # Two replicas may have trained the same version: the name decides, on both alike.
    return used.dictionary.version, used.dictionary.id
