"""What the service asks of the semantic tier and what it is told; imports nothing of the extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from content_cache.entry import Entry


class Outcome(Enum):
    """What a lookup came to."""

    REUSE = "REUSE"
    COMPARE = "COMPARE"
    NONE = "NONE"


class LearnOutcome(Enum):
    """What became of a ticket."""

    LEARNED = "LEARNED"
    TICKET_UNKNOWN = "TICKET_UNKNOWN"
    NOT_STORED = "NOT_STORED"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A prompt to find an answer for.

    Attributes:
        key: The key its own answer is or will be stored under.
        model: The model that answers.
        instructions: The system prompt, and whatever else of the request is not the prompt.
        parameters: The sampling parameters.
        prompt: The prompt.
    """

    key: str
    model: str
    instructions: str
    parameters: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Match:
    """What a lookup came to.

    Attributes:
        outcome: Whether to reuse, to generate and compare, or just to generate.
        entry: The answer to reuse or to compare with.
        similarity: Of the two prompts, 0 to 1.
        ticket: To be shown once the answer is stored; empty with REUSE, and if the prompt cannot be compared.
    """

    outcome: Outcome
    entry: Entry | None = None
    similarity: float = 0.0
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A ticket's end.

    Attributes:
        ticket: The ticket.
        same: Whether the caller found the two answers equivalent; None if it leaves that to the cache.
    """

    ticket: str
    same: bool | None = None


@dataclass(slots=True)
class Counts:
    """What came of lookups since the start.

    Attributes:
        reused: Answers reused.
        compared: Candidates given out for comparison.
        missed: Lookups without a candidate.
        vetoed: Neighbours the guard refused.
        same: Comparisons in which reuse would have been right.
        different: Comparisons in which it would have been wrong.
        prompts: Prompts held now.
    """

    reused: int = 0
    compared: int = 0
    missed: int = 0
    vetoed: int = 0
    same: int = 0
    different: int = 0
    prompts: int = 0


class Semantic(Protocol):
    """Reuse between prompts that say the same."""

    @property
    def counts(self) -> Counts:
        """What came of lookups; safe to read from another thread."""

    async def find(self, tenant: str, lookups: Sequence[Lookup]) -> list[Match]:
        """Return what each lookup comes to, in order; each sees the cache as it is at its turn."""

    async def learn(self, tenant: str, reports: Sequence[Report]) -> list[LearnOutcome]:
        """End tickets whose answers are stored, in order. Each ends once; one unknown changes nothing."""
