"""What asking for content and bringing it can come to, and what either asks of the world outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from content_cache.entry import Address, Entry
from content_cache.leases import Lease


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


@dataclass(slots=True)
class Effects:
    """What a turn asks of the world outside.

    Attributes:
        changed: Keys whose entry is another or gone, with the entry before; the durable tier must follow.
        decided: Keys whose lease ended, with the entry now there; waiters must be told.
    """

    changed: list[tuple[Address, Entry | None]] = field(default_factory=list)
    decided: list[tuple[Address, Entry | None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.decided)
