"""Who refreshes an entry before it expires: one caller of many, the likelier the nearer the end.

XFetch of A. Vattani, F. Chierichetti and K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
VLDB 2015: with U drawn evenly from (0, 1], refresh when now - delta * beta * ln(U) >= expiry, where delta is
how long generating takes. Until the expiry each caller draws for itself, and the first one to succeed gets
the lease.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import log

from content_cache.entry import Entry
from content_cache.leasing.leases import Lease

BETA = 1.0
"""More than 1 refreshes earlier, less later; 1 is the paper's optimum."""


class EarlyRefresh:
    """Draws the lots."""

    __slots__ = ("_beta", "_random")

    def __init__(self, random: Callable[[], float], *, beta: float = BETA) -> None:
        """Prepare to draw.

        Args:
            random: Returns numbers drawn evenly from [0, 1).
            beta: How early.
        """
        self._random = random
        self._beta = beta

    def chooses(self, holder: str, entry: Entry, *, lease: Lease | None, now: datetime) -> bool:
        """Tell whether a caller is the one who refreshes a served entry, perhaps from now on."""
        return self.is_due(entry, now) if lease is None else lease.holder == holder

    def is_due(self, entry: Entry, now: datetime) -> bool:
        """Tell whether whoever asks for a served entry now is to refresh it."""
        if entry.generation_s <= 0:
            return False
        left_s = (entry.expire_time - now).total_seconds()
        return -entry.generation_s * self._beta * log(1 - self._random()) >= left_s
