"""What is kept of an outcome, everything but its text, and the parts of batches that are counted once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b

from service_common.frozen import dataclass

from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import VersionKey

GRADES = 20
"""Scores are graded in steps of 1 / GRADES; a perfect score has a grade of its own."""

PART = 100
"""Most outcomes in a part."""

MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class QualityRecord:
    """What came of one decision.

    Attributes:
        version: What made the prompt; with an empty template id and version 0 for a raw prompt.
        content_type: Of the output.
        status: What happened.
        score: Its overall score; None if there was nothing to score.
        aspects: Names and scores of what the score is made of.
        prompt_tokens: As the model counted them.
        output_tokens: As the model counted them.
        cost_micros: In micros of US dollars.
        latency_s: How long the model took.
        time: When it was counted.
    """

    version: VersionKey
    content_type: str
    status: Status
    score: float | None
    aspects: tuple[tuple[str, float], ...]
    prompt_tokens: int
    output_tokens: int
    cost_micros: int
    latency_s: float
    time: datetime

    @property
    def raw(self) -> bool:
        """Whether it came of a raw prompt."""
        return not self.version.family.template_id

    @property
    def grade(self) -> int | None:
        """The step its score is in, 0 to GRADES; None without a score."""
        return None if self.score is None else grade_of(self.score)


def grade_of(score: float) -> int:
    """Return the step a score from 0 to 1 is in."""
    return int(score * GRADES)


@dataclass(frozen=True, slots=True)
class Part:
    """Up to PART outcomes of one batch: what is counted once, whole or not at all.

    Attributes:
        mark: Names it among the tenant's parts and pages.
        records: The outcomes.
        sums: What they add to the statistics of versions.
    """

    mark: bytes
    records: tuple[QualityRecord, ...]
    sums: Mapping[VersionKey, Statistics]


def mark_of(tenant: str, *names: str) -> bytes:
    """Return MARK_BYTES that are the same for the same names of a tenant, and hardly ever for others."""
    return blake2b("\0".join((tenant, *names)).encode(), digest_size=MARK_BYTES).digest()
