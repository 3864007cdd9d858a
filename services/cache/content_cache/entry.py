"""What is kept, under which name, and how many bytes of memory it takes."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime, timedelta
from typing import NamedTuple

from service_common.frozen import dataclass

from content_cache.framing import FOUND_HEADS

ENTRY_OVERHEAD_BYTES = 640
"""What one entry takes beside its bytes: objects, table slots, its places in recency and expiry order.

Measured on CPython 3.11 (tests/unit/cache/test_memory.py keeps it honest).
"""


class Address(NamedTuple):
    """Where an entry is kept: the tenant always comes first, so that tenants never meet.

    Attributes:
        tenant: Whose it is.
        key: The key as its caller chose it.
    """

    tenant: str
    key: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Immutable content.

    Attributes:
        address: Where it is kept.
        encoded: The whole entry in the form in which it is sent, or that packed; nothing here looks inside.
        cost_micros: What it cost to generate; what a hit saves.
        create_time: When it was stored.
        expire_time: When it stops being served.
        tags: The labels it can be found by; each once.
        era: How many purges of its tenant were known when its making began; a later purge covers it.
        stale_s: How long after its expiry it may be handed out to all but the one who refreshes it.
        generation_s: How long it took to generate; 0 if it is not to be refreshed early.
        packing: How `encoded` was packed; empty if it is as it is sent.
        head: What comes before it in a batch's response, known before it is asked for; empty if it is packed.
    """

    address: Address
    encoded: bytes
    cost_micros: int
    create_time: datetime
    expire_time: datetime
    tags: tuple[str, ...] = ()
    era: int = 0
    stale_s: float = 0.0
    generation_s: float = 0.0
    packing: str = ""
    head: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find what comes before it on the wire."""
        head = b"" if self.packing else FOUND_HEADS[len(self.encoded)]
        object.__setattr__(self, "head", head)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory it takes, overhead included."""
        return len(self.encoded) + len(self.address.key) + ENTRY_OVERHEAD_BYTES

    @property
    def leave_time(self) -> datetime:
        """When nothing of it is handed out any more."""
        return self.expire_time + timedelta(seconds=self.stale_s) if self.stale_s else self.expire_time

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time has come."""
        return self.expire_time <= now

    def is_gone(self, now: datetime) -> bool:
        """Tell whether its time and its stale window are over."""
        return self.leave_time <= now
