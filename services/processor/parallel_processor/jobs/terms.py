"""The terms a job runs under: what it may cost, by when, its share, when to give up, and what else to ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

NORMAL_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job's owner allows and wants; may change while it runs.

    Attributes:
        max_cost_micros: The most its model calls may cost, in micros of US dollars, what is uncertain counted
            at its worst; None for no cap, 0 for nothing.
        deadline: When what is not finished is given up; None for never.
        weight: Its share among jobs of one priority, 1 to 10,000.
        max_failed_ratio: The share of its items, 0 to 1, that may fail before the rest is given up: 0 stops
            at the first failure, 1 never.
        fallback_models: Models to ask, in this order, when an item's own cannot be had.
    """

    max_cost_micros: int | None = None
    deadline: datetime | None = None
    weight: int = NORMAL_WEIGHT
    max_failed_ratio: float = 1.0
    fallback_models: tuple[str, ...] = ()

    def tolerates(self, failed: int, items: int) -> bool:
        """Whether so many failures of so many items are no reason to give up the rest."""
        return self.max_failed_ratio >= 1.0 or failed <= self.max_failed_ratio * items


NO_TERMS = Terms()
