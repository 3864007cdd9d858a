"""What packing and unpacking came to since the start."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Packed:
    """What was packed in one way.

    Attributes:
        entries: How many entries.
        bytes_before: What they took before.
        bytes_after: What they took then.
    """

    entries: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def add(self, before: int, after: int) -> None:
        """Count one."""
        self.entries += 1
        self.bytes_before += before
        self.bytes_after += after


@dataclass(slots=True)
class CompressionCounts:
    """Counts of one cache.

    Attributes:
        plain: Packed without a dictionary.
        trained: Packed with one.
        tenants: Packed, per tenant, in either way.
        trainings: Dictionaries made and taken into use.
        rejected: Dictionaries made that did not pay.
        failed: Trainings that failed, by the store or by too little to learn from.
        unpack_failures: Hits that became misses, by cause.
    """

    plain: Packed = field(default_factory=Packed)
    trained: Packed = field(default_factory=Packed)
    tenants: dict[str, Packed] = field(default_factory=dict)
    trainings: int = 0
    rejected: int = 0
    failed: int = 0
    unpack_failures: dict[str, int] = field(
        default_factory=lambda: {"damaged": 0, "too_large": 0, "dictionary_lost": 0, "dictionary_unread": 0}
    )

    def packed(self, tenant: str, before: int, after: int, *, trained: bool) -> None:
        """Count an entry that was packed."""
        (self.trained if trained else self.plain).add(before, after)
        self.tenants.setdefault(tenant, Packed()).add(before, after)
