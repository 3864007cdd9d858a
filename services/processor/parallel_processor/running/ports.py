"""What running items needs from the neighbours, in our own words; `neighbours` speaks the contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Protocol

from service_common.frozen import dataclass
from service_common.output_contract import OutputContract

from parallel_processor.jobs.piece import PieceSpec, Sampling


@dataclass(frozen=True, slots=True)
class Owner:
    """On whose behalf work is done."""

    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt ready to be sent.

    Attributes:
        messages: Pairs of role and content.
        sampling: How to sample.
        model: The model to ask; empty for the default.
        template_id: Empty for a raw prompt.
        template_version: 0 for a raw prompt.
        content_type: Of the output.
        decision_id: Names the optimizer's decision; empty when it was made without the optimizer.
        output_contract: What the output must be like; None if anything goes.
        handlers: What the output goes through.
    """

    messages: tuple[tuple[str, str], ...]
    sampling: Sampling
    model: str
    template_id: str
    template_version: int
    content_type: str
    decision_id: str = ""
    output_contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Cached content with the facts stored beside it."""

    value: str
    content_type: str
    cost_micros: int
    facts: Mapping[str, str] = field(default_factory=dict)


class Acquired(Enum):
    """What asking for a key's lease came to."""

    HIT = "HIT"
    LEASED = "LEASED"
    BUSY = "BUSY"


@dataclass(frozen=True, slots=True)
class Source:
    """Whose answer is used for another prompt: the key it is stored under, and how similar they are, to 1."""

    key: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What to do about a key: use the entry, generate under the lease, or wait.

    Attributes:
        outcome: Which of them.
        entry: What to use.
        lease_token: Shows whose lease it is.
        source: Whose answer the entry is; None when it is the key's own.
        ticket: To be ended once an answer is stored; empty unless similar ones were asked for.
    """

    outcome: Acquired
    entry: Entry | None = None
    lease_token: str = ""
    source: Source | None = None
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """Content to store.

    Attributes:
        key: Under which key.
        entry: The content.
        tags: Its labels.
        lease_token: Empty when it was generated without a lease.
        keep: Whether to store it; otherwise those who wait for it now get it and nobody else.
    """

    key: str
    entry: Entry
    tags: tuple[str, ...]
    lease_token: str = ""
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, taken apart to find others that say the same.

    Attributes:
        key: Under which its own answer is or will be stored.
        model: The model that answers.
        instructions: What is asked for, apart from the text; equal for prompts that may share an answer.
        parameters: How to sample; equal as well.
        text: What it is about, in words that may differ.
    """

    key: str
    model: str
    instructions: str
    parameters: str
    text: str


@dataclass(frozen=True, slots=True)
class Similar:
    """What there is for a question: another one's answer to use, or a ticket for its own."""

    entry: Entry | None = None
    source: Source | None = None
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """What came of a prompt.

    Attributes:
        decision_id: The optimizer's decision; empty when it was made without the optimizer.
        spec: What was asked, to ask for the decision later.
        succeeded: Whether there is output.
        truncated: Whether it ended at max_tokens.
        output: The text.
        subjects: Texts that matter to the request.
        prompt_tokens: As the model counted.
        output_tokens: As the model counted.
        cost_micros: What it cost.
        latency_s: How long the model took.
    """

    decision_id: str
    spec: PieceSpec
    succeeded: bool
    truncated: bool
    output: str
    subjects: tuple[str, ...]
    prompt_tokens: int
    output_tokens: int
    cost_micros: int
    latency_s: float


class OptimizerPort(Protocol):
    """The prompt optimizer. Every method raises ServiceError as the neighbour answered."""

    async def optimize(self, owner: Owner, specs: Sequence[PieceSpec]) -> list[Prompt | Exception]:
        """Return one prompt per spec, or why there is none."""
        ...

    async def record(
        self, owner: Owner, batch_id: str, reports: Sequence[OutcomeReport], *, attempt: int, timeout_s: float
    ) -> list[float | None]:
        """Report outcomes and return their quality scores; a repeat of a batch counts once.

        `attempt` is 1 only if the batch was never sent before, whatever came of it.
        """
        ...


class CachePort(Protocol):
    """The content cache. Every method raises ServiceError as the neighbour answered."""

    async def get(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return one entry or None per key."""
        ...

    async def acquire(
        self, owner: Owner, holder: str, epoch: int, keys: Sequence[str]
    ) -> list[Acquisition | Exception]:
        """Take the leases of keys, or learn what else to do."""
        ...

    def await_entries(
        self, owner: Owner, keys: Sequence[str], *, timeout_s: float
    ) -> AsyncIterator[tuple[str, Entry | None]]:
        """Yield each key once with its entry, or None when its lease was lost."""
        ...

    def replica_of(self, key: str) -> str:
        """Return a name for the replica a key belongs to; keys awaited together belong to one."""
        ...

    async def fill(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store generated content under leases."""
        ...

    async def replace(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store content in place of what is there."""
        ...

    async def renew(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Extend leases, given as pairs of key and token."""
        ...

    async def release(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Give leases back, given as pairs of key and token."""
        ...


class SimilarPort(Protocol):
    """The content cache's semantic tier. Every method raises ServiceError as the neighbour answered."""

    async def find(self, owner: Owner, questions: Sequence[Question]) -> list[Similar | Exception]:
        """Return what there is for each question."""
        ...

    async def learn(self, owner: Owner, tickets: Sequence[tuple[str, str]]) -> None:
        """End tickets, given as pairs of key and ticket, whose answers are stored."""
        ...
