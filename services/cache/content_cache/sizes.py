"""What an entry takes among others, its labels and its place in its tenant's order included."""

from __future__ import annotations

from service_common.errors import resource_exhausted

from content_cache.entry import Entry
from content_cache.labels import LabelIndex, group_bytes
from content_cache.quota import QUOTA_BYTES, Quota


class Sizes:
    """Sizes of entries that come and go, against the limits of one tenant.

    Attributes:
        own_bytes: What each entry takes beside itself: in policy and directory, and where there are quotas.
        limited: Whether there are quotas.
    """

    __slots__ = ("_labels", "_quota", "limited", "own_bytes")

    def __init__(self, labels: LabelIndex, quota: Quota | None, *, extra_bytes: int = 0) -> None:
        self.limited = quota is not None
        self.own_bytes = extra_bytes + (QUOTA_BYTES if quota else 0)
        self._labels = labels
        self._quota = quota

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

    def exceeds_quota(self, entry: Entry, taken: int) -> bool:
        """Tell whether a tenant whose entries take so much has no room for another one."""
        return self._quota is not None and taken + self.added(entry) > self._quota.max_bytes

    def _alone(self, entry: Entry) -> int:
        return entry.size_bytes + group_bytes(entry.tags) + self.own_bytes

    def _most(self, max_bytes: int) -> int:
        return max_bytes if self._quota is None else min(max_bytes, self._quota.max_bytes)
