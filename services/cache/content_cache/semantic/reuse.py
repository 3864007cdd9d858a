"""The semantic tier in a running cache: embeds off the loop, then each prompt has a turn of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service_common.clock import Clock

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.live import Turn
from content_cache.semantic.embedding import Embedder
from content_cache.semantic.guard import signature
from content_cache.semantic.index import Vector
from content_cache.semantic.judge import Judge
from content_cache.semantic.port import Counts, LearnOutcome, Lookup, Match, Outcome, Report
from content_cache.semantic.scope import scope_of
from content_cache.semantic.tier import Asked, SemanticTier, Ticket

ResultT = TypeVar("ResultT")


class Reuse:
    """Finds answers to prompts that say the same, and learns from what callers report.

    One thread embeds and judges, so that the tier takes at most one core and the loop never waits for it.
    """

    def __init__(
        self,
        tier: SemanticTier,
        embedder: Embedder,
        judge: Judge,
        *,
        turn: Turn,
        clock: Clock,
        value_of: Callable[[Entry], bytes | None],
    ) -> None:
        """Prepare to answer.

        Args:
            tier: The state.
            embedder: Makes vectors of prompts.
            judge: Compares answers that their caller did not.
            turn: Turns on the cache.
            clock: Ends tickets.
            value_of: Takes the content out of an entry; None if it does not come back.
        """
        self._tier = tier
        self._embedder = embedder
        self._judge = judge
        self._turn = turn
        self._clock = clock
        self._value_of = value_of
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic")

    @property
    def counts(self) -> Counts:
        """What came of lookups."""
        return self._tier.counts

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def find(self, tenant: str, lookups: Sequence[Lookup]) -> list[Match]:
        """Return what each lookup comes to."""
        matches: list[Match] = []
        for lookup in lookups:
            (vector,) = await self._off_loop(self._embedder.embed, (lookup.prompt,))
            matches.append(Match(Outcome.NONE) if vector is None else self._find(tenant, lookup, vector))
        return matches

    async def learn(self, tenant: str, reports: Sequence[Report]) -> list[LearnOutcome]:
        """End tickets."""
        return [await self._learn(tenant, each) for each in reports]

    def _find(self, tenant: str, lookup: Lookup, vector: Vector) -> Match:
        scope = scope_of(tenant, lookup.model, instructions=lookup.instructions, parameters=lookup.parameters)
        asked = Asked(scope, lookup.key, signature(lookup.prompt), vector)
        with self._turn as cache:

            def version(key: str) -> object | None:
                return _version(cache.peek(Address(tenant, key)))

            found = self._tier.find(asked, version, now_s=self._clock.monotonic())
            address = Address(tenant, found.key)
            entry = cache.get(address) if found.outcome is Outcome.REUSE else cache.peek(address)
        return Match(found.outcome, entry, found.similarity, found.ticket)

    async def _learn(self, tenant: str, report: Report) -> LearnOutcome:
        ticket = self._tier.ticket(tenant, report.ticket, now_s=self._clock.monotonic())
        if ticket is None:
            return LearnOutcome.TICKET_UNKNOWN
        with self._turn as cache:
            answer, candidate = _answers(cache, tenant, ticket)
        same = report.same
        if same is None and answer is not None and candidate is not None:
            values = self._value_of(answer), self._value_of(candidate)
            same = None if None in values else await self._off_loop(self._judge.same, *values)
        return self._learned(tenant, report.ticket, same=same, judged=(_version(answer), _version(candidate)))

    def _learned(
        self, tenant: str, token: str, *, same: bool | None, judged: tuple[object | None, object | None]
    ) -> LearnOutcome:
        ticket = self._tier.ticket(tenant, token, now_s=self._clock.monotonic())
        if ticket is None:
            return LearnOutcome.TICKET_UNKNOWN
        with self._turn as cache:
            answer, candidate = _answers(cache, tenant, ticket)
        if answer is None:
            return LearnOutcome.NOT_STORED
        # What was compared must still be what is there; else the comparison says nothing.
        valid = candidate is not None and (_version(answer), _version(candidate)) == judged
        self._tier.learn(token, _version(answer), same=same if valid else None)
        return LearnOutcome.LEARNED

    async def _off_loop(self, work: Callable[..., ResultT], *arguments: object) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _version(entry: Entry | None) -> object | None:
    return None if entry is None else entry.create_time


def _answers(cache: ContentCache, tenant: str, ticket: Ticket) -> tuple[Entry | None, Entry | None]:
    """Return the asked prompt's answer, and the candidate's if it is still the one that was found."""
    answer = cache.peek(Address(tenant, ticket.asked.key))
    if ticket.candidate is None:
        return answer, None
    candidate = cache.peek(Address(tenant, ticket.candidate.key))
    return answer, candidate if _version(candidate) == ticket.candidate.version else None
