"""What came of one decision, as it is reported."""

from __future__ import annotations

from enum import Enum

from service_common.frozen import dataclass


class Status(Enum):
    """What happened to a generation."""

    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    FILTERED = "filtered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One generation and what it took.

    Attributes:
        decision_id: The decision it came of.
        status: What happened.
        output: The generated text; empty when there is none.
        subjects: Texts the output should keep to, such as its topic.
        prompt_tokens: As the model counted them.
        output_tokens: As the model counted them.
        cost_micros: In micros of US dollars.
        latency_s: How long the model took.
    """

    decision_id: str
    status: Status
    output: str = ""
    subjects: tuple[str, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    latency_s: float = 0.0
