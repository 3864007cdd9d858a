"""Keeps what was counted until it is stored: a moment behind, in few transactions, nothing lost in silence.

Loss window: a crash loses what was counted in the last `interval_s` plus the commits under way, and while the
store is away what was counted since then. When `most` outcomes wait, no more are taken: the caller keeps its
batch and sends it again.

Counted once: a part this process knows is not taken again; one that may have been sent before is looked up
among what is stored; and in the transaction that stores it, the accounts it goes into tell whether another
process was quicker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import structlog
from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, unavailable

from prompt_optimizer.outcomes.account import Account
from prompt_optimizer.outcomes.page import Page
from prompt_optimizer.outcomes.record import Part
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import VersionKey

KNOWN_MARKS = 100_000
"""Parts remembered after they were stored, so that a repeat needs no reading."""

_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 5.0
_TENANTS_AT_ONCE = 8
_EARLY = 4
_MOST_PAGES = 8
_MOST_VERSIONS = 400
_FINAL = frozenset({ErrorKind.INVALID_ARGUMENT, ErrorKind.DATA_LOSS})
_log = structlog.get_logger("prompt_optimizer.outcomes.write_behind")

Accounts = Mapping[VersionKey, Account]
OnStored = Callable[[str, Mapping[VersionKey, Statistics]], None]


class StoredOutcomes(Protocol):
    """Accounts and pages that outlive the process."""

    async def accounts(self, tenant: str, keys: Sequence[VersionKey]) -> list[Account]:
        """Return the accounts of these versions, in order."""
        ...

    async def counted(self, tenant: str, marks: Sequence[bytes]) -> set[bytes]:
        """Return those of the marks whose parts are on a stored page."""
        ...

    async def add(self, tenant: str, pages: Sequence[Page]) -> Accounts:
        """Store closed pages and book them, each part once; return the accounts as they are then.

        May be repeated with the same pages when its fate is unknown.
        """
        ...


class WriteBehind:
    """The pages that wait, and the loop that stores them."""

    def __init__(
        self,
        stored: StoredOutcomes,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        interval_s: float,
        most: int,
        on_refused: Callable[[int], None],
    ) -> None:
        """Prepare to keep.

        Args:
            stored: Where pages go.
            clock: Says when a page was begun.
            new_id: Makes names of pages.
            interval_s: How long outcomes gather before they are stored; less when a quarter of `most` wait.
            most: Most outcomes that wait.
            on_refused: Hears how many outcomes were given up, as the store can never take them.
        """
        self._stored = stored
        self._clock = clock
        self._new_id = new_id
        self._interval_s = interval_s
        self._most = most
        self._on_refused = on_refused
        self._pages: dict[str, list[Page]] = {}
        self._waiting = 0
        # The marks of all that waits and of what was stored last, oldest first.
        self._known: dict[bytes, None] = {}
        self._noted = asyncio.Event()
        self._much = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._on_stored: OnStored = lambda _tenant, _sums: None

    def __len__(self) -> int:
        """Return how many outcomes wait."""
        return self._waiting

    def listen(self, on_stored: OnStored) -> None:
        """Tell someone of the sums of versions, with all that waits, whenever something was stored."""
        self._on_stored = on_stored

    async def take(self, tenant: str, parts: Sequence[Part], *, first: bool) -> list[Part]:
        """Keep the parts that were not counted before, and return them.

        Args:
            tenant: Whose they are.
            parts: The parts of one batch.
            first: Whether they were certainly never sent before, so that looking them up is of no use.

        Raises:
            ServiceError: UNAVAILABLE if too much waits, or the store cannot be asked. Nothing was taken.
        """
        if not first:
            unknown = [each.mark for each in parts if each.mark not in self._known]
            if unknown:
                self._remember(await self._stored.counted(tenant, unknown))
        fresh = [each for each in parts if each.mark not in self._known]
        count = sum(len(each.records) for each in fresh)
        if self._waiting + count > self._most:
            raise unavailable(
                "OUTCOMES_WAITING",
                "too many outcomes wait for the store; send the batch again under the same batch_id",
                retry_after=timedelta(seconds=self._interval_s),
            )
        for each in fresh:
            self._keep(tenant, each)
        self._remember(each.mark for each in fresh)
        self._waiting += count
        if self._waiting >= self._most // _EARLY:
            self._much.set()
        return fresh

    def _keep(self, tenant: str, part: Part) -> None:
        pages = self._pages.setdefault(tenant, [])
        if not pages or not pages[-1].add(part):
            page = Page(tenant, self._new_id(), now=self._clock.now())
            page.add(part)
            pages.append(page)
        self._noted.set()

    def _remember(self, marks: Iterable[bytes]) -> None:
        self._known.update(dict.fromkeys(marks))
        while len(self._known) > KNOWN_MARKS + self._most:
            del self._known[next(iter(self._known))]

    async def get(self, tenant: str, keys: Sequence[VersionKey]) -> list[Statistics]:
        """Return what came of these versions, in order: what is stored, and what waits."""
        # What waits is looked at first: what is stored meanwhile is then told by its mark.
        waiting = [(each.mark, dict(each.sums)) for each in self._pages.get(tenant, ())]
        accounts = await self._stored.accounts(tenant, keys)
        return [_with_waiting(key, account, waiting) for key, account in zip(keys, accounts, strict=True)]

    async def run(self) -> None:
        """Store what waits, every `interval_s`, for ever; a store that is away is tried again."""
        delay_s = _FIRST_RETRY_S
        while True:
            await self._noted.wait()
            await self._gathered()
            try:
                await self.flush()
                delay_s = _FIRST_RETRY_S
            except ServiceError as error:
                _log.warning("outcomes_not_stored", reason=error.reason, waiting=len(self), retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)

    async def _gathered(self) -> None:
        """Wait for `interval_s`, or until so much waits that the store had better not wait."""
        self._much.clear()
        if self._waiting < self._most // _EARLY:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._much.wait()

    async def flush(self) -> None:
        """Store all that waits now.

        Raises:
            ServiceError: If the store does not take some tenant's; it waits on, and others' are stored.
        """
        async with self._flushing:
            room = asyncio.Semaphore(_TENANTS_AT_ONCE)
            ended = await asyncio.gather(
                *(self._flush(tenant, room) for tenant in list(self._pages)), return_exceptions=True
            )
        if not self._pages:
            self._noted.clear()
        for each in ended:
            if each is not None:
                raise each

    async def _flush(self, tenant: str, room: asyncio.Semaphore) -> None:
        async with room:
            left = len(self._pages[tenant])
            while left:
                pages = self._next(tenant, left)
                left -= len(pages)
                await self._store(tenant, pages)

    def _next(self, tenant: str, most: int) -> list[Page]:
        """Close and return the pages that go into one transaction."""
        versions: set[VersionKey] = set()
        pages: list[Page] = []
        for page in self._pages[tenant][: min(most, _MOST_PAGES)]:
            versions |= page.sums.keys()
            if len(versions) > _MOST_VERSIONS:
                break
            page.closed = True
            pages.append(page)
        return pages

    async def _store(self, tenant: str, pages: list[Page]) -> None:
        accounts: Accounts = {}
        try:
            accounts = await self._stored.add(tenant, pages)
        except ServiceError as error:
            if error.kind not in _FINAL:
                raise
            # Repeating would never help, and would hold up everything after it.
            count = sum(map(len, pages))
            self._on_refused(count)
            _log.error("outcomes_refused", reason=error.reason, error=error.message, outcomes=count)
        self._leave(tenant, pages)
        waiting = [(each.mark, each.sums) for each in self._pages.get(tenant, ())]
        self._on_stored(
            tenant, {key: _with_waiting(key, account, waiting) for key, account in accounts.items()}
        )

    def _leave(self, tenant: str, pages: Sequence[Page]) -> None:
        self._waiting -= sum(map(len, pages))
        del self._pages[tenant][: len(pages)]
        if not self._pages[tenant]:
            del self._pages[tenant]


def _with_waiting(
    key: VersionKey, account: Account, waiting: Iterable[tuple[bytes, Mapping[VersionKey, Statistics]]]
) -> Statistics:
    """Return an account's sums with those of the pages that are not in it yet."""
    total = account.statistics
    for mark, sums in waiting:
        if key in sums and mark not in account.booked:
            total = total.plus(sums[key])
    return total
