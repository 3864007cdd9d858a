"""Lanes on a clock of their own, and callers that hold slots of them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from parallel_processor.jobs.job import Priority
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import ModelReply
from parallel_processor.queueing.slots import Rank
from service_common.clock import ManualClock, SystemClock

RANK = Rank.of(Priority.NORMAL, datetime(2026, 1, 1, tzinfo=UTC))


def lanes_of(most: int = 64, clock: ManualClock | SystemClock | None = None) -> Lanes:
    """Return lanes under a ceiling, on a clock that stands still unless another is given."""
    return Lanes(most, clock=clock or ManualClock(), rng=random.Random(1))


def reply(tokens: int = 100) -> ModelReply:
    """Return an answer of so many tokens."""
    return ModelReply("x", "m", truncated=False, prompt_tokens=0, output_tokens=tokens, latency_s=0.2)


def refusal(retry_after_s: float | None = None) -> ModelFailure:
    """Return a 429."""
    return ModelFailure(
        FailureClass.RATE_LIMITED, "no", fate=Fate.NOT_BILLED, status=429, retry_after_s=retry_after_s
    )


class Holder:
    """Holds a slot until told to let go."""

    def __init__(self, lanes: Lanes, model: str, rank: Rank = RANK) -> None:
        self.model = model
        self.holding = False
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(lanes, rank))

    async def _run(self, lanes: Lanes, rank: Rank) -> None:
        async with lanes.hold(self.model, rank) as held:
            await held.begin()
            self.holding = True
            try:
                await self._let_go.wait()
            finally:
                self.holding = False

    async def let_go(self) -> None:
        """Give the slot back."""
        self._let_go.set()
        await self.task


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
