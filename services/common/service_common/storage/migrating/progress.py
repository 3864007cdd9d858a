"""Where a migration is, for whoever looks at it while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Phase(Enum):
    """What is being done."""

    COUNTING = "counting"
    TIDYING = "tidying"
    COPYING = "copying"
    CHECKING = "checking"


@dataclass(slots=True)
class Progress:
    """Changed while the migration runs.

    Attributes:
        phase: What is being done.
        documents: How many of its documents are done.
        total: How many there are; 0 while that is not known.
        waiting: Why nothing moves; None while it does.
    """

    phase: Phase = Phase.COUNTING
    documents: int = 0
    total: int = 0
    waiting: str | None = None

    def enter(self, phase: Phase, *, total: int = 0) -> None:
        """Begin a phase."""
        self.phase = phase
        self.documents = 0
        self.total = total

    def add(self, documents: int) -> None:
        """Count what was done."""
        self.documents += documents

    def say(self, reason: str | None) -> None:
        """Say why nothing moves, None when it does again."""
        self.waiting = reason

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {
            "phase": self.phase.value,
            "documents": self.documents,
            "total": self.total,
            "waiting": self.waiting,
        }
