"""What a shard's worker makes durable: calls before they are made, results soon after they are there.

Everything that is ready when a commit begins goes into it, so commits grow with load. An announcement waits
milliseconds for others, because a call waits for it; results alone wait longer for company. Where commits are
dear, a commit also announces calls that stand in line, so that they need none of their own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from itertools import accumulate, islice
from typing import Protocol

import structlog
from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import SAFE_COMMIT_BYTES

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Commit, Shard, ShardPhase
from parallel_processor.running.chunks import chunked, weight_of
from parallel_processor.running.outages import Backoff
from parallel_processor.spending.purse import ShardPurse
from parallel_processor.spending.refusal import BudgetRefusedError

_log = structlog.get_logger("parallel_processor.running.journal")
_NOTHING = Usage()
_GATHER_S = 0.003
"""How long an announcement waits for others: a call begins later by it, and a commit carries more."""


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
    announced: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.intents or self.settled_intents or self.uncertain != Usage())


class Journal:
    """Commits one shard's work, one commit at a time.

    Its mutable state: the shard as last committed, what is to be committed next and what is being committed,
    and the calls that are expected: those in line, and those announced before they came.

    Attributes:
        shard: The shard as last committed.
        purse: What the shard's calls are paid from.
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
        purse: ShardPurse,
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
            purse: What the shard's calls are paid from.
            on_commit: Called with the shard and the outcomes of each commit once it is durable.
        """
        self.shard = shard
        self.purse = purse
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

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: on CPython 3.11 every asking is a system call."""
        return asyncio.get_running_loop()

    def expect(self, index: int, worst_case_micros: int) -> None:
        """Note that an item's call stands in line; it may be announced before its turn."""
        if index not in self._ahead:
            self._in_line[index] = worst_case_micros

    def announce(self, index: int, worst_case_micros: int) -> Awaitable[None]:
        """Begin to make it durable that an item's call is coming; done when what is returned is.

        Raises:
            BudgetRefusedError: When awaited, if no budget bears the call.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if index in self._committing.ahead:
            self._committing.announced.append((index, future))
        elif index in self._ahead:
            future.set_result(None)
        elif (refusal := self.purse.foreseen(index, worst_case_micros)) is not None:
            _fail(future, refusal)
        else:
            self._pending.intents[index] = worst_case_micros
            self._pending.announced.append((index, future))
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
        announced = any(
            index in each
            for each in (self.shard.intents, self._committing.intents, self._committing.ahead, self._ahead)
        )
        self._no_longer_expected(index)
        self._pending.intents.pop(index, None)
        if not announced and uncertain == _NOTHING:
            return
        self._pending.settled_intents.add(index)
        self._pending.uncertain += uncertain
        self._wake.set()

    def _no_longer_expected(self, index: int) -> None:
        self._in_line.pop(index, None)
        self._committing.ahead.pop(index, None)
        if index in self._ahead:
            self._ahead.discard(index)
            self._pace.ahead.left += 1

    def _next_in_line(self, room: int | None) -> dict[int, int]:
        """Take from the line as many calls as may be announced now, and as the budget has room for."""
        taken = dict(islice(self._in_line.items(), self._pace.ahead.left))
        if room is not None:
            sums = accumulate(taken.values())
            taken = dict(each for each, total in zip(taken.items(), sums, strict=True) if total <= room)
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
                if self._pending.intents:
                    await asyncio.sleep(_GATHER_S)
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
        commit = self._next(pending)
        pending.ahead = self._next_in_line(self.purse.room(self.shard, commit))
        commit = replace(commit, intents={**commit.intents, **pending.ahead})
        commit = replace(commit, draw=self.purse.draw(self.shard, commit))
        self._committing = pending
        results = chunked(self.shard, pending.outcomes)
        try:
            self.shard = await self._committed(replace(commit, result_chunks=tuple(results)), results)
            self.purse.borne(self.shard.intents)
            await self._refuse(commit, pending)
        except BaseException as error:
            for _, future in pending.announced:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            raise
        self._committing = _Pending()
        for _, future in pending.announced:
            if not future.done():
                future.set_result(None)
        self._on_commit(self.shard, list(pending.outcomes.values()))

    def _next(self, pending: _Pending) -> Commit:
        return Commit(
            epoch=self.shard.epoch,
            number=self.shard.commits + 1,
            lease_until=self._clock.now() + self._lease,
            outcomes=pending.outcomes,
            intents=pending.intents,
            settled_intents=frozenset(pending.settled_intents),
            uncertain=pending.uncertain,
        )

    async def _committed(self, commit: Commit, results: Mapping[str, Mapping[int, Outcome]]) -> Shard:
        """Make a commit durable, however long the store is away."""
        backoff = Backoff(base_s=0.1, cap_s=2.0, rng=self._rng)
        while True:
            try:
                return await self._ledger.commit(self.shard, commit, results)
            except ServiceError as error:
                if error.kind is not ErrorKind.UNAVAILABLE:
                    raise
                _log.warning("commit_delayed", shard=self.shard.holder, reason=error.reason)
                await asyncio.sleep(backoff.next_s(floor_s=0.05))
            commit = replace(commit, lease_until=self._clock.now() + self._lease)

    async def _refuse(self, commit: Commit, pending: _Pending) -> None:
        """Tell the calls that the commit announced in vain what becomes of them."""
        refused = {index: worst for index, worst in commit.intents.items() if index not in self.shard.intents}
        if not refused:
            return
        for index in refused.keys() & pending.ahead.keys():
            self._no_longer_expected(index)
        verdicts = await self.purse.judge(self.shard, refused, asked=commit.draw is not None)
        for index, future in [each for each in pending.announced if each[0] in refused]:
            verdict = verdicts[index]
            if verdict is not None:
                _fail(future, verdict)
            else:
                pending.announced.remove((index, future))
                self._announce_again(index, refused[index], future)

    def _announce_again(self, index: int, worst_case_micros: int, future: asyncio.Future[None]) -> None:
        """Announce a call with the next commit, unless it has been called off meanwhile."""
        called_off = index in self._pending.outcomes or index in self._pending.settled_intents
        if future.done() or called_off:
            future.cancel()
            return
        self._pending.intents[index] = worst_case_micros
        self._pending.announced.append((index, future))

    def _take(self) -> _Pending:
        """Take what is pending, of the outcomes as many as one commit carries; the next takes others."""
        pending, self._pending = self._pending, _Pending()
        outcomes = [*pending.outcomes.items()]
        size = 0
        for count, (_, outcome) in enumerate(outcomes):
            size += weight_of(outcome)
            if count and size > SAFE_COMMIT_BYTES:
                pending.outcomes = dict(outcomes[:count])
                self._pending.outcomes = dict(outcomes[count:])
                break
        return pending


def _fail(future: asyncio.Future[None], error: BudgetRefusedError) -> None:
    """Let a call hear that it may not be made; one that has found its content meanwhile does not listen."""
    if not future.done():
        future.set_exception(error)
        future.exception()
