"""Neighbours and an endpoint that do as they are told, for tests of the running parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import ModelReply, ModelRequest, TokenUsage
from parallel_processor.running.ports import (
    Acquired,
    Acquisition,
    Entry,
    Fill,
    OutcomeReport,
    Owner,
    Prompt,
    Question,
    Similar,
)
from parallel_processor.running.spending import Spending
from parallel_processor.spending.account import Account, Standing
from parallel_processor.spending.interactive_purse import InteractivePurse
from parallel_processor.spending.purse import ShardPurse
from parallel_processor.spending.tenant_budget import TenantBudget
from parallel_processor.spending.tenants import BudgetedTenants
from service_common.clock import Clock, ManualClock
from service_common.errors import ErrorKind, ServiceError, unavailable

AWAY = unavailable("AWAY", "away")


async def settle(turns: int = 30) -> None:
    """Let every task that can go on do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in other tasks, and that nobody announces."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a fake announces nothing
            await asyncio.sleep(0.001)


@dataclass
class FakeCache:
    """A cache of one process.

    Attributes:
        entries: What is there, by key.
        leases: Who holds a key, by key; `elsewhere` is somebody else.
        released: Keys given back.
        fills: What was filled or put in place, in order.
        away: Whether it answers nothing.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    leases: dict[str, str] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    asked: list[Sequence[str]] = field(default_factory=list)
    streams: list[Sequence[str]] = field(default_factory=list)
    news: asyncio.Queue[tuple[str, Entry | None]] = field(default_factory=asyncio.Queue)
    away: bool = False

    def _check(self) -> None:
        if self.away:
            raise AWAY

    async def get(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return what is there."""
        self._check()
        self.asked.append(keys)
        return [self.entries.get(key) for key in keys]

    async def acquire(
        self, owner: Owner, holder: str, epoch: int, keys: Sequence[str]
    ) -> list[Acquisition | Exception]:
        """Give the lease of what is free."""
        self._check()
        return [self._acquired(key, holder) for key in keys]

    def _acquired(self, key: str, holder: str) -> Acquisition:
        if key in self.entries:
            return Acquisition(Acquired.HIT, self.entries[key])
        if key in self.leases:
            return Acquisition(Acquired.BUSY)
        self.leases[key] = holder
        return Acquisition(Acquired.LEASED, lease_token=f"lease of {key}")

    async def await_entries(
        self, owner: Owner, keys: Sequence[str], *, timeout_s: float
    ) -> AsyncIterator[tuple[str, Entry | None]]:
        """Yield the news that the test puts in, until it has told of all keys."""
        self._check()
        self.streams.append(keys)
        left = set(keys)
        while left:
            key, entry = await self.news.get()
            left.discard(key)
            yield key, entry

    def replica_of(self, key: str) -> str:
        """Return the replica: the key's first letter."""
        return key[:1]

    async def fill(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store and free."""
        self._check()
        for each in fills:
            self.fills.append(each)
            if each.keep:
                self.entries[each.key] = each.entry
            self.leases.pop(each.key, None)

    async def replace(self, owner: Owner, fills: Sequence[Fill]) -> None:
        """Store."""
        await self.fill(owner, fills)

    async def renew(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Take note of nothing."""
        self._check()

    async def release(self, owner: Owner, leases: Sequence[tuple[str, str]]) -> None:
        """Free."""
        self._check()
        for key, _ in leases:
            self.released.append(key)
            self.leases.pop(key, None)


@dataclass
class FakeSimilar:
    """A semantic tier that answers what it is told.

    Attributes:
        answers: What each text gets; any other gets a ticket of its own.
        failing: What it raises instead.
        gate: Waited for before every answer.
        asked: The questions, in order.
        learned: Pairs of key and ticket that were ended.
    """

    answers: dict[str, Similar] = field(default_factory=dict)
    failing: ServiceError | None = None
    gate: Callable[[], Awaitable[object]] | None = None
    asked: list[Question] = field(default_factory=list)
    learned: list[tuple[str, str]] = field(default_factory=list)

    async def find(self, owner: Owner, questions: Sequence[Question]) -> list[Similar | Exception]:
        """Return what was told."""
        self.asked += questions
        if self.gate is not None:
            await self.gate()
        if self.failing is not None:
            raise self.failing
        return [self.answers.get(each.text, Similar(ticket=f"ticket of {each.key}")) for each in questions]

    async def learn(self, owner: Owner, tickets: Sequence[tuple[str, str]]) -> None:
        """Take note."""
        if self.failing is not None:
            raise self.failing
        self.learned += tickets


@dataclass
class FakeOptimizer:
    """An optimizer that renders nothing and scores everything alike.

    Attributes:
        answers: What each template gets instead of a prompt.
        away: Whether it answers nothing.
        recorded: The batches of outcomes it has taken, with their ids.
        attempts: Which sending each batch that arrived said it was.
    """

    answers: dict[str, ServiceError] = field(default_factory=dict)
    away: bool = False
    refusing: ServiceError | None = None
    batches: list[int] = field(default_factory=list)
    recorded: list[tuple[str, Sequence[OutcomeReport]]] = field(default_factory=list)
    gate: Callable[[], Awaitable[object]] | None = None
    attempts: list[int] = field(default_factory=list)

    async def optimize(self, owner: Owner, specs: Sequence[PieceSpec]) -> list[Prompt | Exception]:
        """Answer each spec."""
        self.batches.append(len(specs))
        if self.away:
            raise AWAY
        return [self.answers.get(spec.template_id or "") or prompt(spec) for spec in specs]

    async def record(
        self, owner: Owner, batch_id: str, reports: Sequence[OutcomeReport], *, attempt: int, timeout_s: float
    ) -> list[float | None]:
        """Score everything 0.5, if the gate opens in time."""
        self.attempts.append(attempt)
        if self.gate is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.gate()
            except TimeoutError as error:
                raise ServiceError(ErrorKind.DEADLINE_EXCEEDED, "SLOW", "too slow") from error
        if self.away:
            raise AWAY
        if self.refusing is not None:
            raise self.refusing
        self.recorded.append((batch_id, reports))
        return [0.5] * len(reports)


def prompt(spec: PieceSpec | None = None, *, model: str = "m", decision_id: str = "d1") -> Prompt:
    """Return a prompt; templates are told apart by their text."""
    text = (spec.template_id or "raw") if spec is not None else "text"
    return Prompt((("user", text),), Sampling(50), model, "faq", 1, "faq", decision_id)


def failure(
    kind: FailureClass, fate: Fate = Fate.NOT_BILLED, *, retry_after_s: float | None = None
) -> ModelFailure:
    """Return a failed call; a billed one took tokens."""
    usage = TokenUsage(100, 3) if fate is Fate.BILLED else None
    return ModelFailure(kind, "it failed", fate=fate, usage=usage, retry_after_s=retry_after_s)


@dataclass
class FakeEndpoint:
    """An endpoint with a script: each call takes the next line, and a good answer when there is none.

    Attributes:
        script: Failures, texts, or an event that the answer waits for.
        asked: The requests, in order.
    """

    script: list[ModelFailure | str | asyncio.Event] = field(default_factory=list)
    asked: list[ModelRequest] = field(default_factory=list)
    during: Callable[[], None] = lambda: None

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Answer a call."""
        self.asked.append(request)
        self.during()
        line = self.script.pop(0) if self.script else "an answer"
        if isinstance(line, asyncio.Event):
            await line.wait()
            line = "an answer"
        if isinstance(line, ModelFailure):
            raise line
        return ModelReply(
            line, request.model, truncated=False, prompt_tokens=100, output_tokens=10, latency_s=1.0
        )

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Answer a call word by word."""
        reply = await self.generate(request, traceparent=traceparent)
        for number, word in enumerate(reply.text.split(" ")):
            on_text(f" {word}" if number else word)
        return reply


@dataclass
class FakeStock:
    """Budgets that stand as they are told.

    Attributes:
        standing: How.
        taken: How often they were asked.
    """

    standing: Standing = field(default_factory=lambda: Standing((), ()))
    taken: int = 0

    async def get(self, tenant: str) -> TenantBudget | None:
        """No tenant has a budget."""
        return None

    async def take_stock(self, tenant: str, job_id: str) -> Standing:
        """Return the standing."""
        self.taken += 1
        return self.standing


def purse(clock: Clock | None = None) -> ShardPurse:
    """Return a purse that no budget holds."""
    return ShardPurse(FakeStock(), clock=clock or ManualClock(), held=False)


def spending(clock: Clock | None = None) -> Spending:
    """Return what pays for shards that no budget holds."""
    clock, stock, refused = clock or ManualClock(), FakeStock(), list[Account]()
    return Spending(stock, BudgetedTenants(stock, clock=clock), clock=clock, on_refused=refused.append)


def interactive_purse() -> InteractivePurse:
    """Return what pays for pieces of tenants without a budget."""
    clock, stock, refused = ManualClock(), FakeStock(), list[Account]()
    tenants = BudgetedTenants(stock, clock=clock)
    return InteractivePurse(cast("Any", None), tenants, holder="p", clock=clock, on_refused=refused.append)
