"""Warming: what is stored and not in memory comes back into free room, the most promising first.

It only fills what is free. An entry that leaves memory leaves the store too, and what is left in the store is
read when asked for: to let anything leave for the sake of a warming would lose paid content, hot or not.

A job is memory of this process. What it brought is in memory and no candidate any more, so beginning again
after a restart goes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError, failed_precondition, not_found, resource_exhausted
from service_common.storage.documents import Key

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.learning.heat import Heat, worth_of
from content_cache.live import Turn

MOST_REMEMBERED = 100

_WINDOW = 500
_WINDOW_BYTES = 64 * 1024 * 1024
_STEP = 50
_GIVES_UP_AFTER = 50
_READ_TIMEOUT_S = 10.0
_log = structlog.get_logger("content_cache.durability.warming")


class Strategy(Enum):
    """Which entries come first."""

    MOST_VALUABLE = "MOST_VALUABLE"
    MOST_RECENT = "MOST_RECENT"
    TAG = "TAG"


class State(Enum):
    """Whether a warming goes on."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        strategy: Which come first.
        tag: Only what has this label; empty: all.
        max_bytes: Most bytes of memory; 0: as much as is free.
        max_entries: Most entries; 0: all.
    """

    strategy: Strategy
    tag: str = ""
    max_bytes: int = 0
    max_entries: int = 0


@dataclass(frozen=True, slots=True)
class Warming:
    """How far a warming has come.

    Attributes:
        id: Its name.
        tenant: Whose.
        state: Whether it goes on.
        candidates: Entries it looks at.
        done: Of these, looked at.
        warmed: Of these, brought into memory.
        warmed_bytes: What they take there.
        reason: Why it ended.
        start_time: When it began.
        end_time: When it ended.
    """

    id: str
    tenant: str
    start_time: datetime
    candidates: int
    state: State = State.RUNNING
    done: int = 0
    warmed: int = 0
    warmed_bytes: int = 0
    reason: str = ""
    end_time: datetime | None = None

    def has_reached(self, plan: Plan) -> str:
        """Return which of the plan's budgets is used up; empty while none is."""
        if plan.max_entries and self.warmed >= plan.max_entries:
            return f"the budget of {plan.max_entries} entries is used up"
        if plan.max_bytes and self.warmed_bytes >= plan.max_bytes:
            return f"the budget of {plan.max_bytes} bytes is used up"
        return ""


class Stored(Protocol):
    """What is stored and not in memory."""

    def left_of(self, tenant: str) -> list[Entry]:
        """Return what is known of a tenant's entries, without their bytes."""
        ...

    def segment_of(self, address: Address) -> Key | None:
        """Return the document an entry is in; None if it is in none any more."""
        ...

    async def fetch(self, segments: Sequence[Key]) -> list[Entry]:
        """Read what is left in some documents."""
        ...

    def admit(self, entry: Entry, cache: ContentCache) -> bool:
        """Put an entry into free memory; tell whether it is there now for it."""
        ...


def ordered(entries: Sequence[Entry], plan: Plan, heat: Heat) -> list[Entry]:
    """Return what a plan asks for, the most promising first."""
    wanted = [each for each in entries if not plan.tag or plan.tag in each.tags]
    used = {address: place for place, (address, _) in enumerate(heat.order(), start=1)}

    def recency(entry: Entry) -> tuple[int, datetime]:
        return used.get(entry.address, 0), entry.create_time

    def value(entry: Entry) -> tuple[int, tuple[int, datetime]]:
        return worth_of(heat.uses(entry.address), entry.cost_micros), recency(entry)

    if plan.strategy is Strategy.MOST_RECENT:
        return sorted(wanted, key=recency, reverse=True)
    return sorted(wanted, key=value, reverse=True)


class Warmings:
    """The warmings of this process, one of a tenant at a time."""

    def __init__(
        self, stored: Stored, turn: Turn, heat: Heat, *, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        """Prepare.

        Args:
            stored: What can be brought.
            turn: The turns in which it is.
            heat: What is in demand.
            clock: Says when they end.
            new_id: Names warmings.
        """
        self._stored = stored
        self._turn = turn
        self._heat = heat
        self._clock = clock
        self._new_id = new_id
        self._known: OrderedDict[str, Warming] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, tenant: str, plan: Plan) -> Warming:
        """Begin a warming and return it.

        Raises:
            ServiceError: WARMING_RUNNING if the tenant has one that goes on; TOO_MANY_WARMINGS.
        """
        running = [each for each in self._known.values() if each.state is State.RUNNING]
        for each in running:
            if each.tenant == tenant:
                raise failed_precondition(
                    "WARMING_RUNNING", f"warming {each.id} is running; wait for it or cancel it"
                )
        if len(running) >= MOST_REMEMBERED:
            raise resource_exhausted("TOO_MANY_WARMINGS", "too many warmings are running; try again later")
        with self._turn as cache:
            candidates = ordered(self._stored.left_of(tenant), plan, self._heat)
            warming = Warming(self._new_id(), tenant, cache.now, len(candidates))
        self._note(warming)
        task = asyncio.create_task(self._run(warming.id, plan, [each.address for each in candidates]))
        self._tasks[warming.id] = task
        return warming

    def get(self, tenant: str, warming_id: str) -> Warming:
        """Return how far a warming has come.

        Raises:
            ServiceError: WARMING_NOT_FOUND.
        """
        found = self._known.get(warming_id)
        if found is None or found.tenant != tenant:
            raise not_found("WARMING_NOT_FOUND", f"there is no warming {warming_id}, or it is forgotten")
        return found

    async def cancel(self, tenant: str, warming_id: str) -> Warming:
        """End a warming and return how it ended.

        Raises:
            ServiceError: WARMING_NOT_FOUND.
        """
        self.get(tenant, warming_id)
        await self._stop(warming_id)
        return self.get(tenant, warming_id)

    async def close(self) -> None:
        """End all of them."""
        for each in tuple(self._tasks):
            await self._stop(each)

    async def _stop(self, warming_id: str) -> None:
        task = self._tasks.get(warming_id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            self._end(warming_id, State.CANCELLED, "cancelled")

    async def _run(self, warming_id: str, plan: Plan, addresses: Sequence[Address]) -> None:
        try:
            reason = await self._fill(warming_id, plan, addresses)
        except (ServiceError, TimeoutError) as error:
            reason = getattr(error, "message", "") or "the store did not answer in time"
            _log.warning("warming_failed", warming=warming_id, reason=getattr(error, "reason", "TIMEOUT"))
            self._end(warming_id, State.FAILED, reason)
        else:
            self._end(warming_id, State.SUCCEEDED, reason)

    async def _fill(self, warming_id: str, plan: Plan, addresses: Sequence[Address]) -> str:
        """Bring what fits; return why it ends."""
        waiting, misfits = deque(addresses), 0
        while waiting:
            entries = await self._read(waiting, min(_WINDOW, plan.max_entries or _WINDOW))
            for start in range(0, len(entries), _STEP):
                misfits = self._admit(warming_id, plan, entries[start : start + _STEP], misfits)
                await asyncio.sleep(0)
                reached = self._known[warming_id].has_reached(plan)
                if reached:
                    return reached
                if misfits >= _GIVES_UP_AFTER:
                    return "there is no more free room"
            self._change(warming_id, done=len(addresses) - len(waiting))
        return "all candidates were looked at"

    async def _read(self, waiting: deque[Address], most: int) -> list[Entry]:
        """Take the next few off the queue and return their entries in its order; those gone are left out."""
        window = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        documents: dict[Key, list[Address]] = {}
        for address in window:
            document = self._stored.segment_of(address)
            if document is not None:
                documents.setdefault(document, []).append(address)
        found: dict[Address, Entry] = {}
        size = 0
        later: set[Address] = set()
        for document, wanted in documents.items():
            if size > _WINDOW_BYTES:
                later.update(wanted)
                continue
            async with asyncio.timeout(_READ_TIMEOUT_S):
                fetched = {each.address: each for each in await self._stored.fetch((document,))}
            found.update({address: fetched[address] for address in wanted if address in fetched})
            size += sum(len(fetched[address].encoded) for address in wanted if address in fetched)
        waiting.extendleft(reversed([address for address in window if address in later]))
        return [found[address] for address in window if address in found]

    def _admit(self, warming_id: str, plan: Plan, entries: Sequence[Entry], misfits: int) -> int:
        """Put entries into free room within the budgets; return how many in a row did not fit."""
        with self._turn as cache:
            for entry in entries:
                warming = self._known[warming_id]
                size = cache.bytes_of(entry)
                if warming.has_reached(plan) or misfits >= _GIVES_UP_AFTER:
                    break
                exceeds = plan.max_bytes and warming.warmed_bytes + size > plan.max_bytes
                if not exceeds and self._stored.admit(entry, cache):
                    misfits = 0
                    self._change(
                        warming_id, warmed=warming.warmed + 1, warmed_bytes=warming.warmed_bytes + size
                    )
                elif not entry.is_gone(cache.now) and cache.held(entry.address) is None:
                    misfits += 1
                self._change(warming_id, done=self._known[warming_id].done + 1)
        return misfits

    def _change(self, warming_id: str, **fields: Any) -> None:
        self._known[warming_id] = replace(self._known[warming_id], **fields)

    def _end(self, warming_id: str, state: State, reason: str) -> None:
        self._tasks.pop(warming_id, None)
        found = self._known[warming_id]
        if found.state is State.RUNNING:
            ended = replace(found, state=state, reason=reason, end_time=self._clock.now())
            self._known[warming_id] = ended
            _log.info(
                "warming_ended",
                warming=warming_id,
                state=state.value,
                warmed=found.warmed,
                candidates=found.candidates,
            )

    def _note(self, warming: Warming) -> None:
        self._known[warming.id] = warming
        ended = [each.id for each in self._known.values() if each.state is not State.RUNNING]
        for each in ended[: max(0, len(self._known) - MOST_REMEMBERED)]:
            del self._known[each]


class Kept(Enum):
    """What became of an entry that was given ahead of its use."""

    STORED = "STORED"
    HELD = "HELD"
    NO_ROOM = "NO_ROOM"


def store_if_free(cache: ContentCache, entry: Entry, stored: Stored) -> Kept:
    """Store an entry unless its key has one, also in the store, or anything would have to leave for it.

    Raises:
        ServiceError: ENTRY_TOO_LARGE.
    """
    cache.sizes.check(entry, cache.max_bytes)
    if cache.peek(entry.address) is not None or stored.segment_of(entry.address) is not None:
        return Kept.HELD
    size = cache.sizes.added(entry)
    if cache.size_bytes + size > cache.max_bytes or cache.sizes.exceeds_quota(entry):
        return Kept.NO_ROOM
    cache.set(entry)
    return Kept.STORED
