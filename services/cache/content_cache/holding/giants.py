"""Entries so large that a few could flush the cache: they share a part of it, and displace each other.

A giant takes more than a sixteenth of the limit, and more than 64 KiB. When memory is full, one that would
make all giants exceed a quarter of the limit takes the place of giants, as long as there are any. So what
passes once, however much of it, costs the others no more room than that quarter, or than a single giant
takes.
"""

from __future__ import annotations

from collections import OrderedDict

from content_cache.entry import Address

_GIANT_SHARE = 16
_ALL_GIANTS_SHARE = 4
_LEAST_GIANT_BYTES = 64 * 1024


class Giants:
    """The giants held, in the order of their last use.

    Attributes:
        above_bytes: What is larger is a giant.
    """

    __slots__ = ("_most_bytes", "_size_bytes", "_sizes", "above_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._sizes: OrderedDict[Address, int] = OrderedDict()
        self._size_bytes = 0
        self.resize(max_bytes)

    def __len__(self) -> int:
        return len(self._sizes)

    def resize(self, max_bytes: int) -> None:
        """Measure giants by another limit from now on; who is one stays one."""
        self.above_bytes = max(max_bytes // _GIANT_SHARE, _LEAST_GIANT_BYTES)
        self._most_bytes = max_bytes // _ALL_GIANTS_SHARE

    def displaced(self, size_bytes: int) -> Address | None:
        """Return which giant leaves for an entry of this size; None if the policy decides."""
        if size_bytes <= self.above_bytes or self._size_bytes + size_bytes <= self._most_bytes:
            return None
        return next(iter(self._sizes), None)

    def added(self, address: Address, size_bytes: int) -> None:
        """Take note of a giant."""
        self._sizes[address] = size_bytes
        self._size_bytes += size_bytes

    def used(self, address: Address) -> None:
        """Take note that an entry was served, giant or not."""
        if address in self._sizes:
            self._sizes.move_to_end(address)

    def removed(self, address: Address) -> None:
        """Forget an entry, giant or not."""
        self._size_bytes -= self._sizes.pop(address, 0)
