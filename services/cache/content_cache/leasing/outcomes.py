"""What asking for content and bringing it can come to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from content_cache.entry import Entry
from content_cache.leasing.leases import Lease


class FillOutcome(Enum):
    """What became of generated content."""

    FILLED = "FILLED"
    STORED_WITHOUT_LEASE = "STORED_WITHOUT_LEASE"
    SUPERSEDED = "SUPERSEDED"
    PURGED = "PURGED"
    PASSED_ON = "PASSED_ON"


@dataclass(frozen=True, slots=True)
class Stale:
    """An entry that has expired, or is about to.

    Attributes:
        entry: What may still be used.
        lease: The right to refresh it; None if someone else has it.
    """

    entry: Entry
    lease: Lease | None
