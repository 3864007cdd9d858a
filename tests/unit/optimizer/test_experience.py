"""Mean lengths at hand: read again after a while, learned at once, and never worth a failed request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prompt_optimizer.outcomes.experience import REFRESH_S, Experience
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import Family, VersionKey
from service_common.clock import ManualClock
from service_common.errors import unavailable

KEY = VersionKey(Family("faq"), 1)


class Stored:
    """Statistics that count how often they are read, and fail when told to."""

    def __init__(self) -> None:
        self.tokens = 100
        self.reads = 0
        self.is_away = False

    async def get(self, tenant: str, keys: Sequence[VersionKey]) -> list[Statistics]:
        """Return one output of `tokens` for each."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise unavailable("STORE_UNAVAILABLE", "away")
        return [Statistics(outcomes=1, output_tokens=self.tokens, produced=1) for _ in keys]


async def test_what_is_known_is_read_again_only_after_a_while() -> None:
    """Other processes' outcomes show after REFRESH_S."""
    clock, stored = ManualClock(), Stored()
    experience = Experience(stored, clock=clock, capacity=10)
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 100}
    stored.tokens = 50
    clock.advance(REFRESH_S - 1)
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 100}
    clock.advance(1)
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 50}
    assert stored.reads == 2


async def test_a_store_that_is_away_leaves_the_old_estimates() -> None:
    """Or none, where none were known; and it is left in peace for a while."""
    clock, stored = ManualClock(), Stored()
    experience = Experience(stored, clock=clock, capacity=10)
    await experience.mean_output_tokens("acme", [KEY])
    stored.is_away = True
    clock.advance(REFRESH_S)
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 100}
    assert await experience.mean_output_tokens("other", [KEY]) == {}
    reads = stored.reads
    await experience.mean_output_tokens("acme", [KEY])
    assert stored.reads == reads


async def test_no_more_is_kept_than_the_capacity() -> None:
    """The least recently learned goes, and is read again when asked for."""
    stored = Stored()
    experience = Experience(stored, clock=ManualClock(), capacity=2)
    for tenant in ("a", "b", "c", "a"):
        await experience.mean_output_tokens(tenant, [KEY])
    assert stored.reads == 4


async def test_what_was_just_counted_is_learned_at_once() -> None:
    """Added to what is known; what is not known is read with it in any case."""
    stored = Stored()
    experience = Experience(stored, clock=ManualClock(), capacity=10)
    experience.add("acme", {KEY: Statistics(outcomes=1, output_tokens=1, produced=1)})
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 100}
    experience.add("acme", {KEY: Statistics(outcomes=1, output_tokens=50, produced=1)})
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 75}
    assert stored.reads == 1


async def test_calls_that_come_together_read_once() -> None:
    """The first one reads, the others do with what is known: a job does not begin with a flood of reads."""
    stored = Stored()
    experience = Experience(stored, clock=ManualClock(), capacity=10)
    await asyncio.gather(*(experience.mean_output_tokens("acme", [KEY]) for _ in range(50)))
    assert stored.reads == 1
    assert await experience.mean_output_tokens("acme", [KEY]) == {KEY: 100}
