"""The cache in a running process: what its steps ask of the world is done at the end of each turn.

A turn is synchronous: nothing happens between its steps, and none ends before its waiters are told and its
changes are noted for the durable tier.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType

from service_common.clock import Clock
from service_common.errors import unavailable

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.holding.effects import Effects
from content_cache.leasing.leases import Lease
from content_cache.leasing.waiting import Claim, Decided, WaitingRoom

Changed = Callable[[Address, Entry | None], None]
Observe = Callable[[float], None]


class LiveCache:
    """Turns on a `ContentCache`, its waiters and its lease alarm.

    Attributes:
        cache: The cache; outside a turn for reading counts only.
        waiting: Those who wait.
    """

    def __init__(self, cache: ContentCache, *, clock: Clock, changed: Changed) -> None:
        self.cache = cache
        self.waiting = WaitingRoom()
        self._clock = clock
        self._changed = changed
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._loaded = False

    def open(self) -> None:
        """Let callers in: what was stored before is loaded."""
        self._loaded = True

    def operation(self, observe: Observe) -> Turn:
        """Return the turns of one kind of operation, to be used again and again in `with`.

        Args:
            observe: Is told each turn's seconds.
        """
        return Turn(self, self._clock, observe)

    def begin(self) -> ContentCache:
        """Begin a turn.

        Raises:
            ServiceError: UNAVAILABLE while loading: a lease given now could be for content about to appear.
        """
        if not self._loaded:
            raise unavailable("CACHE_LOADING", "the cache is loading its content; try again in a moment")
        cache = self.cache
        if cache.begin_turn():
            # What ran out meanwhile goes to those who waited, before anyone who comes now.
            self._perform_all()
        return cache

    def end(self) -> None:
        """End a turn: do what its steps ask for."""
        cache = self.cache
        effects, alarms = cache.effects, cache.alarms
        if effects.changed or effects.decided:
            self._perform_all()
        if alarms and (self._alarm is None or alarms[0][0] < self._alarm_at):
            self._set_alarm()

    async def decisions(
        self, turn: Turn, addresses: Sequence[Address], claim: Claim | None = None
    ) -> AsyncGenerator[list[Decided], None]:
        """Yield each key once: with its entry, with a lease inherited by claim, or None when it has neither.

        A lease that was inherited and could not be yielded, or not be used, is given back.
        """
        undecided: list[Address] = []
        decided: list[Decided] = []
        with turn as cache:
            for address in addresses:
                entry = cache.peek(address)
                if entry is None and cache.lease(address) is not None:
                    undecided.append(address)
                else:
                    decided.append((address, entry))
            wait = self.waiting.enter(undecided, claim)
        try:
            if decided:
                yield decided
            decided, remaining = [], len(undecided)
            while remaining:
                decided = await wait.decided()
                remaining -= len(decided)
                yield decided
                decided = []
        finally:
            self.waiting.leave(wait)
            self._give_back(turn, [*decided, *wait.take()])

    def close(self) -> None:
        """Set no more alarms."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _perform_all(self) -> None:
        effects = self.cache.take_effects()
        if effects:
            self._perform(effects)

    def _perform(self, effects: Effects) -> None:
        for address, before in effects.changed:
            self._changed(address, before)
        for address, entry in effects.decided:
            found = entry or self.cache.peek(address)
            if found is None and self._is_handed_over(address):
                continue
            self.waiting.settle(address, found)

    def _is_handed_over(self, address: Address) -> bool:
        """Give a lost lease to whoever has waited longest and wants it; tell whether someone has it now."""
        if self.cache.lease(address) is not None:
            return True
        heir = self.waiting.heir(address)
        if heir is None or heir.claim is None:
            return False
        claim = heir.claim
        lease = self.cache.lease_to(address, holder=claim.holder, epoch=claim.epoch, ttl_s=claim.ttl_s)
        self.waiting.inherit(heir, lease)
        return True

    def _give_back(self, turn: Turn, decided: Sequence[Decided]) -> None:
        leases = [outcome for _, outcome in decided if isinstance(outcome, Lease)]
        if leases:
            with turn as cache:
                for lease in leases:
                    cache.release(lease.address, lease.token)

    def _set_alarm(self) -> None:
        due = self.cache.next_lease_alarm()
        if due is None or (self._alarm is not None and self._alarm_at <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        delay = max(0.0, due - self._clock.monotonic())
        self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.cache.begin_turn()
        self.end()


class Turn:
    """`with turn as cache:` is one turn; not to be nested."""

    __slots__ = ("_begin", "_cache", "_end", "_monotonic", "_observe", "_started")

    def __init__(self, live: LiveCache, clock: Clock, observe: Observe) -> None:
        self._begin, self._end, self._cache = live.begin, live.end, live.cache
        self._monotonic = clock.monotonic
        self._observe = observe
        self._started = 0.0

    def __enter__(self) -> ContentCache:
        self._started = self._monotonic()
        return self._begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cache = self._cache
        if cache.alarms or cache.effects.changed or cache.effects.decided:
            self._end()
        self._observe(self._monotonic() - self._started)
