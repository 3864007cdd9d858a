"""Results on their way out: items and their states, pages, and a stream that goes on where it was cut."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import orjson
from service_common.clock import Clock
from service_common.errors import ErrorKind, FieldViolation, ServiceError

from parallel_processor.jobs.item import Item, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.piece import PieceError
from parallel_processor.jobs.retrying import standing
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import JobRepository, ShardRepository

_SHARDS_AT_ONCE = 20
_PAGE_BYTES = 2_000_000
_FRAME_ITEMS = 50
_IDLE_S = 15.0
_ALL = -1
"""Stands for all results of a shard that will have no more."""


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item and where it is."""

    item: Item
    state: ItemState
    error: PieceError | None = None


class Position:
    """Where a reader of a job's results stands: how many of each shard's results it has.

    Its mutable state: the first shard it does not have all of, the counts of those from there on, and the
    round of retries as of which these are all there were.
    """

    def __init__(
        self, job_id: str, low: int = 0, taken: dict[int, int] | None = None, *, round_: int = 0
    ) -> None:
        self.job_id = job_id
        self.round = round_
        self.low = low
        self.taken = taken or {}

    def token(self) -> str:
        """Return it as an opaque text."""
        parts = [self.job_id, self.low, sorted(self.taken.items()), self.round]
        return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()

    @staticmethod
    def parse(token: str, job: Job, *, reason: str, field: str) -> Position:
        """Read a token of this job.

        Raises:
            ServiceError: INVALID_ARGUMENT if it is none.
        """
        if not token:
            return Position(job.job_id)
        try:
            job_id, low, taken, *rounds = orjson.loads(base64.urlsafe_b64decode(token.encode()))
            counted = {int(number): int(count) for number, count in taken}
            position = Position(job_id, int(low), counted, round_=int(rounds[0]) if rounds else 0)
        except (ValueError, TypeError, OverflowError, binascii.Error) as error:
            raise _bad_token(reason, field) from error
        counts = position.taken.values()
        if (
            job_id != job.job_id
            or not 0 <= position.low <= max(job.shard_count, job.chunk_count)
            or any(each < _ALL for each in counts)
        ):
            raise _bad_token(reason, field)
        return position

    def rewind(self, shards: Sequence[Shard], round_: int) -> None:
        """Note shards that were opened again since: what they had by then is all that has been taken."""
        news = {
            shard.number: shard.reopened[min(later)]
            for shard in shards
            if (later := [each for each in shard.reopened if each > self.round])
        }
        low, self.low = self.low, min([self.low, *news])
        self.taken |= dict.fromkeys(range(self.low, low), _ALL)
        self.taken |= {number: count for number, count in news.items() if self.taken.get(number) == _ALL}
        self.round = round_
        self._fold()

    def advance(self, shard: Shard, count: int, *, complete: bool) -> None:
        """Note that `count` results of a shard have been taken, all it will ever have if `complete`."""
        self.taken[shard.number] = count
        if complete:
            self.taken[shard.number] = _ALL
        self._fold()

    def _fold(self) -> None:
        while self.taken.get(self.low) == _ALL:
            del self.taken[self.low]
            self.low += 1


def _bad_token(reason: str, field: str) -> ServiceError:
    problem = "is not one that was given out for this job"
    violation = FieldViolation(field, problem)
    return ServiceError(ErrorKind.INVALID_ARGUMENT, reason, f"{field} {problem}", violations=(violation,))


class CommitSignal:
    """Wakes readers when this process commits; other processes' commits are noticed by polling."""

    def __init__(self) -> None:
        self._tickets: dict[str, asyncio.Event] = {}

    def ticket(self, job_id: str) -> asyncio.Event:
        """Return what the next commit of a job sets; take it before reading, so that no commit is missed."""
        return self._tickets.setdefault(job_id, asyncio.Event())

    def committed(self, job_id: str) -> None:
        """Wake the readers of a job."""
        if ticket := self._tickets.pop(job_id, None):
            ticket.set()


@dataclass(frozen=True, slots=True)
class Looks:
    """How often a stream looks for new results.

    Attributes:
        rest_s: The least time between two looks, whatever is committed.
        poll_s: The most time, for what other processes commit.
    """

    rest_s: float
    poll_s: float


class Results:
    """Reads items and results of jobs."""

    def __init__(
        self,
        jobs: JobRepository,
        shards: ShardRepository,
        *,
        signal: CommitSignal,
        looks: Looks,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._shards = shards
        self._signal = signal
        self._looks = looks
        self._clock = clock

    async def list_items(
        self, job: Job, state: ItemState | None, *, limit: int, page_token: str
    ) -> tuple[list[ListedItem], str]:
        """Return a page of a job's items, in the order they are worked on, and the token of the next."""
        start = Position.parse(page_token, job, reason="INVALID_PAGE_TOKEN", field="page_token")
        if job.state is JobState.DRAFT or job.shard_count == 0:
            return await self._list_draft(job, state, limit, start)
        number, offset = start.low, start.taken.get(start.low, 0)
        while number < job.shard_count:
            listed = await self._items_of(job, number)
            kept = [each for each in listed[offset : offset + limit] if state in (None, each.state)]
            offset += limit
            if offset >= len(listed):
                number, offset = number + 1, 0
            if kept:
                more = number < job.shard_count
                token = Position(job.job_id, number, {number: offset} if offset else {}).token()
                return kept, token if more else ""
        return [], ""

    async def _list_draft(
        self, job: Job, state: ItemState | None, limit: int, start: Position
    ) -> tuple[list[ListedItem], str]:
        """List the items of a job that has no shards: they are all waiting, or cancelled with it."""
        now = ItemState.CANCELLED if job.state is JobState.CANCELLED else ItemState.PENDING
        chunk, offset = start.low, start.taken.get(start.low, 0)
        if state not in (None, now) or chunk >= job.chunk_count:
            return [], ""
        items = await anext(self._jobs.chunks(job, start=chunk))
        page = [ListedItem(item, now) for item in items[offset : offset + limit]]
        offset += limit
        if offset >= len(items):
            chunk, offset = chunk + 1, 0
        return page, Position(job.job_id, chunk, {chunk: offset}).token() if chunk < job.chunk_count else ""

    async def _items_of(self, job: Job, number: int) -> list[ListedItem]:
        shards = await self._shards.read(job, [number])
        if not shards:
            return []
        shard = shards[0]
        items = await self._jobs.read_items(job, shard.sources)
        results = standing(shard, await self._shards.results(shard))
        errors = {index: outcome.error for index, outcome in results}
        return [ListedItem(item, _state(shard, index), errors.get(index)) for index, item in enumerate(items)]

    async def list_results(self, job: Job, *, limit: int, page_token: str) -> tuple[list[Outcome], str]:
        """Return a page of finished items with their content, and the token of the next."""
        position = Position.parse(page_token, job, reason="INVALID_PAGE_TOKEN", field="page_token")
        number, offset = position.low, position.taken.get(position.low, 0)
        page: list[Outcome] = []
        size = 0
        while number < job.shard_count:
            for index, outcome in await self._outcomes(job, number):
                if index < offset:
                    continue
                weight = len(outcome.piece.content.encode()) if outcome.piece else 0
                if page and (len(page) >= limit or size + weight > _PAGE_BYTES):
                    return page, Position(job.job_id, number, {number: index}).token()
                page.append(outcome)
                size += weight
            number, offset = number + 1, 0
        return page, ""

    async def _outcomes(self, job: Job, number: int) -> list[tuple[int, Outcome]]:
        """Return a shard's results by item index, which is the order of its items and not of its commits."""
        for shard in await self._shards.read(job, [number]):
            return sorted(standing(shard, await self._shards.results(shard)), key=itemgetter(0))
        return []

    async def stream(
        self, tenant: str, job_id: str, resume_token: str
    ) -> AsyncGenerator[tuple[list[Outcome], str], None]:
        """Yield each result once, with the token to go on from, until the job is finished."""
        job = await self._jobs.get(tenant, job_id)
        position = Position.parse(resume_token, job, reason="INVALID_RESUME_TOKEN", field="resume_token")
        quiet_since = self._clock.monotonic()
        chunks_read: dict[int, tuple[int, int]] = {}
        while True:
            ticket = self._signal.ticket(job_id)
            job = await self._jobs.get(tenant, job_id)
            if job.retries > position.round:
                position.rewind(await self._opened(job), job.retries)
            async for outcomes in self._new_outcomes(job, position, chunks_read):
                quiet_since = self._clock.monotonic()
                yield outcomes, position.token()
            if job.finish_time is not None and position.low >= job.shard_count:
                return
            if self._clock.monotonic() - quiet_since > _IDLE_S:
                quiet_since = self._clock.monotonic()
                yield [], position.token()
            await asyncio.sleep(self._looks.rest_s)
            await _set_within(ticket, self._looks.poll_s - self._looks.rest_s)

    async def _opened(self, job: Job) -> list[Shard]:
        """Return the shards of a job that were ever opened again."""
        found: list[Shard] = []
        for start in range(0, job.shard_count, _SHARDS_AT_ONCE):
            numbers = range(start, min(start + _SHARDS_AT_ONCE, job.shard_count))
            found += [each for each in await self._shards.read(job, numbers) if each.reopened]
        return found

    async def _new_outcomes(
        self, job: Job, position: Position, chunks_read: dict[int, tuple[int, int]]
    ) -> AsyncIterator[list[Outcome]]:
        """Yield what was committed since the position; stops at shards nobody has begun."""
        number = position.low
        while number < job.shard_count:
            numbers = range(number, min(number + _SHARDS_AT_ONCE, job.shard_count))
            shards = await self._shards.read(
                job, [each for each in numbers if position.taken.get(each) != _ALL]
            )
            for shard in shards:
                async for frame in self._new_of_shard(shard, position, chunks_read):
                    yield frame
            if shards and all(shard.phase is ShardPhase.WAITING for shard in shards):
                return
            # Beyond those of which all is taken: they are known by the position's beginning alone.
            number = max(numbers.stop, position.low)

    async def _new_of_shard(
        self, shard: Shard, position: Position, chunks_read: dict[int, tuple[int, int]]
    ) -> AsyncIterator[list[Outcome]]:
        """Yield a shard's results after the position; `chunks_read` spares reading documents twice."""
        taken = position.taken.get(shard.number, 0)
        complete = shard.phase in (ShardPhase.FINISHED, ShardPhase.SETTLED)
        total = shard.counts.finished + shard.superseded
        if total > taken:
            chunks, known = chunks_read.get(shard.number, (0, 0))
            if known != taken:
                chunks, known = 0, 0
            results = await self._shards.results(shard, chunks=slice(chunks, None))
            chunks_read[shard.number] = len(shard.result_chunks), known + len(results)
            stands = {id(outcome) for _, outcome in standing(shard, results)}
            fresh = list(enumerate((outcome for _, outcome in results), known + 1))[taken - known :]
            for frame in _frames([(place, outcome) for place, outcome in fresh if id(outcome) in stands]):
                taken = frame[-1][0]
                position.advance(shard, taken, complete=complete and taken == total)
                yield [outcome for _, outcome in frame]
            position.advance(shard, total, complete=complete)
        elif complete:
            position.advance(shard, taken, complete=True)


async def _set_within(ticket: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await ticket.wait()
    except TimeoutError:
        return


def _state(shard: Shard, index: int) -> ItemState:
    state = ItemState(shard.states[index])
    return ItemState.RUNNING if index in shard.intents and not state.terminal else state


def _frames(results: Sequence[tuple[int, Outcome]]) -> list[list[tuple[int, Outcome]]]:
    frames: list[list[tuple[int, Outcome]]] = []
    size = _PAGE_BYTES + 1
    for place, outcome in results:
        weight = len(outcome.piece.content.encode()) if outcome.piece else 0
        if size + weight > _PAGE_BYTES or len(frames[-1]) >= _FRAME_ITEMS:
            frames.append([])
            size = 0
        frames[-1].append((place, outcome))
        size += weight
    return frames
