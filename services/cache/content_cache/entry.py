"""What is kept, under which name, and how many bytes of memory it takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

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
        encoded: The whole entry in the form in which it is sent; nothing here looks inside.
        cost_micros: What it cost to generate; what a hit saves.
        create_time: When it was stored.
        expire_time: When it stops being served.
    """

    address: Address
    encoded: bytes
    cost_micros: int
    create_time: datetime
    expire_time: datetime

    @property
    def size_bytes(self) -> int:
        """Bytes of memory it takes, overhead included."""
        return len(self.encoded) + len(self.address.key) + ENTRY_OVERHEAD_BYTES

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time has come."""
        return self.expire_time <= now
