"""The values quality is spoken of in: one aspect's finding, before it has a share in the whole."""

from __future__ import annotations

from service_common.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one aspect.

    Attributes:
        score: 0 to 1.
        explanation: For people.
    """

    score: float
    explanation: str


def share(found: int, wanted: int) -> float:
    """Return how much of what is wanted was found, at most 1."""
    return min(1.0, found / wanted)
