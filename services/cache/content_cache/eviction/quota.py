"""What one tenant may take of the memory all have in common, and which of its own entries leaves for more."""

from __future__ import annotations

from collections.abc import Iterable

from content_cache.entry import Address
from content_cache.eviction import EvictionPolicy, Lru
from content_cache.eviction.policy import Evictable

QUOTA_BYTES = 80
"""What an entry's place in its tenant's own order takes; counted with the entry while there are quotas."""


class Quota:
    """An eviction policy over another that also knows each tenant's least recently used entry.

    Attributes:
        extra_bytes: As the policy below.
        max_bytes: Most bytes that one tenant's entries may take.
    """

    __slots__ = ("_policy", "_tenants", "extra_bytes", "max_bytes")

    def __init__(self, policy: EvictionPolicy, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.extra_bytes = policy.extra_bytes
        self._policy = policy
        self._tenants: dict[str, Lru] = {}

    def added(self, entry: Evictable) -> None:
        """Count it as used just now."""
        self._policy.added(entry)
        self._tenants.setdefault(entry.address.tenant, Lru()).added(entry)

    def used(self, address: Address) -> None:
        """Count it as used just now."""
        self._policy.used(address)
        self._tenants[address.tenant].used(address)

    def used_all(self, addresses: Iterable[Address]) -> None:
        """Count them as used just now."""
        for address in addresses:
            self.used(address)

    def removed(self, address: Address) -> None:
        """Forget it."""
        self._policy.removed(address)
        self._tenants[address.tenant].removed(address)

    def victim(self) -> Address:
        """Return whom the policy below names."""
        return self._policy.victim()

    def victim_of(self, tenant: str) -> Address:
        """Return the entry of a tenant that was not used for the longest time.

        Raises:
            LookupError: If it has none.
        """
        return self._tenants.setdefault(tenant, Lru()).victim()
