"""A queue whose members can leave from anywhere: a doubly linked ring, a sentinel between its ends.

Its members do not sit in one large table, so that it is never rebuilt.
"""

from __future__ import annotations

from content_cache.entry import Address

_NOWHERE = Address("", "")


class Member:
    """An address in a queue; a sentinel's is nobody's.

    Attributes:
        address: Which.
        older: Who came before it; the sentinel before the oldest.
        newer: Who came after it; the sentinel after the newest.
    """

    __slots__ = ("address", "newer", "older")

    def __init__(self, address: Address = _NOWHERE) -> None:
        self.address = address
        self.older: Member = self
        self.newer: Member = self

    def join(self, sentinel: Member) -> None:
        """Become the newest of a queue."""
        newest = sentinel.older
        self.older = newest
        self.newer = sentinel
        newest.newer = self
        sentinel.older = self

    def renew(self, sentinel: Member) -> None:
        """Become the newest of the queue it is in; in one step, for every hit takes it."""
        newer = self.newer
        if newer is sentinel:
            return
        older, newest = self.older, sentinel.older
        older.newer = newer
        newer.older = older
        self.older = newest
        self.newer = sentinel
        newest.newer = self
        sentinel.older = self

    def leave(self) -> None:
        """Leave the queue it is in, and belong to none."""
        older, newer = self.older, self.newer
        older.newer = newer
        newer.older = older
        # Not to refer to others, nor to itself: its memory is given back at once, without a collector.
        del self.older, self.newer
