"""What an entry takes among others, its labels and its place in its tenant's order included."""

from __future__ import annotations

from service_common.errors import resource_exhausted

from content_cache.entry import Entry
from content_cache.eviction.quota import QUOTA_BYTES, Quota
from content_cache.holding.labels import LabelIndex, group_bytes
from content_cache.holding.stats import TenantTable


class Sizes:
    """Sizes of entries that come and go, against the limits of one tenant.

    Attributes:
        own_bytes: What each entry takes beside itself: in policy and directory, and where there are quotas.
        limited: Whether there are quotas.
        reserved_bytes: What is taken beside all entries, compression's dictionaries for one.
    """

    __slots__ = ("_counters", "_labels", "_quota", "limited", "own_bytes", "reserved_bytes")

    def __init__(
        self, labels: LabelIndex, quota: Quota | None, counters: TenantTable, *, extra_bytes: int = 0
    ) -> None:
        self.limited = quota is not None
        self.reserved_bytes = 0
        self.own_bytes = extra_bytes + (QUOTA_BYTES if quota else 0)
        self._labels = labels
        self._quota = quota
        self._counters = counters

    def added(self, entry: Entry) -> int:
        """Return what an entry would take if it were put in now."""
        return entry.size_bytes + self._labels.cost(entry) + self.own_bytes

    def fits_alone(self, entry: Entry, max_bytes: int) -> bool:
        """Tell whether an entry fits once all others have left, which leaves it alone with its labels."""
        return self._alone(entry) <= self._most(max_bytes)

    def check(self, entry: Entry, max_bytes: int) -> None:
        """Refuse an entry for which no room can be made.

        Raises:
            ServiceError: ENTRY_TOO_LARGE.
        """
        if not self.fits_alone(entry, max_bytes):
            raise resource_exhausted(
                "ENTRY_TOO_LARGE",
                f"the entry takes {self._alone(entry)} bytes of memory; the limit is {self._most(max_bytes)}",
            )

    def exceeds_quota(self, entry: Entry) -> bool:
        """Tell whether its tenant has no room for another entry."""
        if self._quota is None:
            return False
        return self._counters[entry.address.tenant].size_bytes + self.added(entry) > self._quota.max_bytes

    def _alone(self, entry: Entry) -> int:
        return entry.size_bytes + group_bytes(entry.tags) + self.own_bytes

    def _most(self, max_bytes: int) -> int:
        left = max_bytes - self.reserved_bytes
        return left if self._quota is None else min(left, self._quota.max_bytes)
