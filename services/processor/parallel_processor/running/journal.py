"""What a shard's worker makes durable: calls before they are made, results soon after they are there.

Everything that is ready when a commit begins goes into it, so commits grow with load. An announcement is
committed at once, because a call waits for it; results alone wait a little for company. Where commits are
dear, a commit also announces calls that stand in line, so that they need none of their own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Protocol

import structlog
from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import SAFE_COMMIT_BYTES

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Commit, Shard, ShardPhase
from parallel_processor.running.outages import Backoff

_log = structlog.get_logger("parallel_processor.running.journal")
_CHUNK_BYTES = 700_000
"""What a result document may hold; leaves room for its own frame below the largest document."""

_CHUNK_OUTCOMES = 100
"""The most outcomes in a result document: it is found by its items, and a store looks into no longer list."""

_FRAME_BYTES = 1_000
"""What an outcome takes beside its texts."""


class ShardLedger(Protocol):
    """Where commits go."""

    async def commit(
        self, shard: Shard, commit: Commit, results: Mapping[str, Mapping[int, Outcome]]
    ) -> Shard:
        """Make a commit durable; ABORTED when the lease is lost, and harmless to repeat."""
        ...


class Allowance:
    """How many calls all journals of a process together may announce before they come.

    Attributes:
        left: How many more.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to commit.

    Attributes:
        interval_s: How long results wait for company.
        ahead: Bounds the calls that are announced before they come.
    """

    interval_s: float
    ahead: Allowance = field(default_factory=lambda: Allowance(0))


@dataclass(slots=True)
class _Pending:
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    intents: dict[int, int] = field(default_factory=dict)
    ahead: dict[int, int] = field(default_factory=dict)
    settled_intents: set[int] = field(default_factory=set)
    uncertain: Usage = field(default_factory=Usage)
    announced: list[asyncio.Future[None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.intents or self.settled_intents or self.uncertain != Usage())


class Journal:
    """Commits one shard's work, one commit at a time.

    Its mutable state: the shard as last committed, what is to be committed next and what is being committed,
    and the calls that are expected: those in line, and those announced before they came.

    Attributes:
        shard: The shard as last committed.
    """

    def __init__(
        self,
        shard: Shard,
        ledger: ShardLedger,
        *,
        clock: Clock,
        rng: random.Random,
        lease: timedelta,
        pace: Pace,
        on_commit: Callable[[Shard, Sequence[Outcome]], None],
    ) -> None:
        """Prepare to commit.

        Args:
            shard: The shard as claimed.
            ledger: Where commits go.
            clock: Time.
            rng: Jitter of repeated tries.
            lease: How long each commit extends the lease.
            pace: How often to commit.
            on_commit: Called with the shard and the outcomes of each commit once it is durable.
        """
        self.shard = shard
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self._lease = lease
        self._pace = pace
        self._on_commit = on_commit
        self._pending = _Pending()
        self._committing = _Pending()
        self._in_line: dict[int, int] = {}
        self._ahead: set[int] = set()
        self._wake = asyncio.Event()
        self._closing = False

    def expect(self, index: int, worst_case_micros: int) -> None:
        """Note that an item's call stands in line; it may be announced before its turn."""
        if index not in self._ahead:
            self._in_line[index] = worst_case_micros

    def announce(self, index: int, worst_case_micros: int) -> Awaitable[None]:
        """Begin to make it durable that an item's call is coming; done when what is returned is."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if index in self._committing.ahead:
            self._committing.announced.append(future)
        elif index in self._ahead:
            future.set_result(None)
        else:
            self._pending.intents[index] = worst_case_micros
            self._pending.announced.append(future)
            self._wake.set()
        self._no_longer_expected(index)
        return future

    def finish(self, index: int, outcome: Outcome) -> None:
        """Make an item's outcome durable soon."""
        self._no_longer_expected(index)
        self._pending.intents.pop(index, None)
        self._pending.outcomes[index] = outcome
        self._wake.set()

    def account(self, index: int, uncertain: Usage) -> None:
        """Note what became of a call that an earlier epoch announced, or that was cut off here."""
        self._no_longer_expected(index)
        self._pending.intents.pop(index, None)
        self._pending.settled_intents.add(index)
        self._pending.uncertain += uncertain
        self._wake.set()

    def _no_longer_expected(self, index: int) -> None:
        self._in_line.pop(index, None)
        self._committing.ahead.pop(index, None)
        if index in self._ahead:
            self._ahead.discard(index)
            self._pace.ahead.left += 1

    def _next_in_line(self) -> dict[int, int]:
        """Take from the line as many calls as may be announced now."""
        taken = dict(islice(self._in_line.items(), self._pace.ahead.left))
        for index in taken:
            del self._in_line[index]
        self._ahead |= taken.keys()
        self._pace.ahead.left -= len(taken)
        return taken

    def close(self) -> None:
        """Commit what there is and let `run` return."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Commit what comes until everything is finished or `close` is called.

        Raises:
            ServiceError: ABORTED, reason LEASE_LOST: the shard is someone else's, and so is what was left.
        """
        try:
            while self.shard.phase not in (ShardPhase.FINISHED, ShardPhase.SETTLED):
                await self._wake.wait()
                await self._company()
                self._wake.clear()
                if self._pending:
                    await self._commit()
                if self._pending:
                    self._wake.set()
                elif self._closing:
                    return
        finally:
            for index in [*self._ahead]:
                self._no_longer_expected(index)

    def _last(self) -> bool:
        """Whether what is pending finishes the shard."""
        counts = self.shard.counts
        return counts.pending + counts.running <= len(self._pending.outcomes)

    async def _company(self) -> None:
        """Wait for more results, but for no announcement and not for the shard's last result."""
        deadline = self._clock.monotonic() + self._pace.interval_s
        while not (self._pending.intents or self._closing or self._last()):
            self._wake.clear()
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _commit(self) -> None:
        pending = self._take()
        pending.ahead = self._next_in_line()
        self._committing = pending
        intents = {**pending.ahead, **pending.intents}
        results = self._chunked(pending.outcomes)
        backoff = Backoff(base_s=0.1, cap_s=2.0, rng=self._rng)
        try:
            while True:
                commit = Commit(
                    epoch=self.shard.epoch,
                    number=self.shard.commits + 1,
                    lease_until=self._clock.now() + self._lease,
                    outcomes=pending.outcomes,
                    result_chunks=tuple(results),
                    intents=intents,
                    settled_intents=frozenset(pending.settled_intents),
                    uncertain=pending.uncertain,
                )
                try:
                    self.shard = await self._ledger.commit(self.shard, commit, results)
                    break
                except ServiceError as error:
                    if error.kind is not ErrorKind.UNAVAILABLE:
                        raise
                    _log.warning("commit_delayed", shard=self.shard.holder, reason=error.reason)
                    await asyncio.sleep(backoff.next_s(floor_s=0.05))
        except BaseException as error:
            for future in pending.announced:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            raise
        self._committing = _Pending()
        for future in pending.announced:
            if not future.done():
                future.set_result(None)
        self._on_commit(self.shard, list(pending.outcomes.values()))

    def _take(self) -> _Pending:
        """Take what is pending, of the outcomes as many as one commit carries; the next takes others."""
        pending, self._pending = self._pending, _Pending()
        outcomes = [*pending.outcomes.items()]
        size = 0
        for count, (_, outcome) in enumerate(outcomes):
            size += _weight(outcome)
            if count and size > SAFE_COMMIT_BYTES:
                pending.outcomes = dict(outcomes[:count])
                self._pending.outcomes = dict(outcomes[count:])
                break
        return pending

    def _chunked(self, outcomes: Mapping[int, Outcome]) -> dict[str, dict[int, Outcome]]:
        """Cut outcomes into documents of bounded size, under ids no other epoch or commit uses (law 1)."""
        prefix = f"{self.shard.job_id}.{self.shard.number}.{self.shard.epoch}.{self.shard.commits + 1}"
        chunks: list[dict[int, Outcome]] = []
        size = _CHUNK_BYTES + 1
        for index, outcome in outcomes.items():
            weight = _weight(outcome)
            if size + weight > _CHUNK_BYTES or len(chunks[-1]) == _CHUNK_OUTCOMES:
                chunks.append({})
                size = 0
            chunks[-1][index] = outcome
            size += weight
        return {f"{prefix}.{number}": chunk for number, chunk in enumerate(chunks)}


def _weight(outcome: Outcome) -> int:
    """Return about how many bytes an outcome takes in its document, rather more than fewer."""
    texts = [outcome.item_id, *outcome.labels, *outcome.labels.values()]
    if outcome.piece is not None:
        texts.append(outcome.piece.content)
    if outcome.error is not None:
        texts.append(outcome.error.message)
    return _FRAME_BYTES + sum(len(each.encode()) for each in texts)
