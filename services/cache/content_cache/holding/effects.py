"""What steps of the cache ask of the world outside."""

from __future__ import annotations

from dataclasses import dataclass, field

from content_cache.entry import Address, Entry


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
