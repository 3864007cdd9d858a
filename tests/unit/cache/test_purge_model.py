"""Purges, fills, faults and crashes in any order, against a plain model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.holding.rules import Kind, Mode, Selector
from content_cache.leasing.leases import Lease, era_of_token
from content_cache.leasing.outcomes import FillOutcome
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from service_common.clock import ManualClock
from service_common.errors import ServiceError

from tests.unit.cache.replica import Replica, Store

T = TypeVar("T")
ALL = Selector(Kind.ALL)
_KEYS = [Address(tenant, key) for tenant in ("a", "a_") for key in ("k", "ka", "l")]
_SELECTORS = [
    ALL,
    *(Selector(Kind.TAG, tag) for tag in "xy"),
    *(Selector(Kind.PREFIX, key) for key in ("k", "ka")),
]


def fits(selector: Selector, entry: Entry) -> bool:
    """Say what a selector means."""
    if selector.kind is Kind.TAG:
        return selector.value in entry.tags
    return entry.address.key.startswith(selector.value)


class PurgeHistory(RuleBasedStateMachine):
    """A replica that crashes, beside what it must hold and what it must never serve again."""

    keys = st.sampled_from(_KEYS)
    labels = st.lists(st.sampled_from("xy"), unique=True).map(tuple)

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.serial = count()
        self.model: dict[Address, Entry] = {}
        self.begun: dict[bytes, int] = {}
        self.tokens: dict[Address, tuple[str, int]] = {}
        self.purged: list[tuple[int, str, Selector]] = []
        self.durable: dict[Address, Entry] | None = {}
        self.loop = asyncio.new_event_loop()
        self.replica = self.run(Replica(self.store, self.clock).start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do one step."""
        return self.loop.run_until_complete(work)

    def turn(self, step: Callable[[ContentCache], T]) -> T:
        """Do one step of a turn."""

        async def inside() -> T:
            with self.replica.turn as cache:
                return step(cache)

        return self.run(inside())

    def teardown(self) -> None:
        """End."""
        self.replica.live.close()
        self.loop.close()

    def entry(self, key: Address, tags: tuple[str, ...], *, era: int, begun: int) -> Entry:
        """Make an entry unlike any other."""
        encoded = str(next(self.serial)).encode()
        self.begun[encoded] = begun
        now = self.clock.now()
        return Entry(key, encoded, 0, now, now + timedelta(days=9), tags=tags, era=era)

    def is_purged(self, entry: Entry) -> bool:
        """Tell whether a purge fits an entry that was begun before it."""
        return any(
            moment > self.begun[entry.encoded] and tenant == entry.address.tenant and fits(selector, entry)
            for moment, tenant, selector in self.purged
        )

    @rule(key=keys, tags=labels)
    def set(self, key: Address, tags: tuple[str, ...]) -> None:
        """What is set begins now."""
        era = self.replica.cache.rules.era(key.tenant)
        entry = self.entry(key, tags, era=era, begun=next(self.serial))
        self.turn(lambda cache: cache.set(entry))
        self.model[key] = entry
        self.durable = None

    @rule(key=keys)
    def acquire(self, key: Address) -> None:
        """A lease is the beginning of what is filled under it, whenever that is."""
        epoch = next(self.serial)
        found = self.turn(lambda cache: cache.acquire(key, holder="h", epoch=epoch, ttl_s=30))
        if isinstance(found, Lease):
            self.tokens[key] = (found.token, next(self.serial))

    @rule(key=keys, tags=labels)
    def fill(self, key: Address, tags: tuple[str, ...]) -> None:
        """A fill that was purged since its lease is refused, also by a replica that knows no lease."""
        if key not in self.tokens:
            return
        token, begun = self.tokens.pop(key)
        entry = self.entry(key, tags, era=era_of_token(token), begun=begun)
        outcome = self.turn(lambda cache: cache.fill(entry, token))
        assert (outcome is FillOutcome.PURGED) is self.is_purged(entry)
        if outcome in {FillOutcome.FILLED, FillOutcome.STORED_WITHOUT_LEASE}:
            self.model[key] = entry
            self.durable = None

    @rule(tenant=st.sampled_from(["a", "a_"]), selector=st.sampled_from(_SELECTORS), away=st.booleans())
    def purge(self, tenant: str, selector: Selector, *, away: bool) -> None:
        """A purge counts what goes; one that the store did not take changes nothing."""
        self.store.away = away
        gone = [key for key, each in self.model.items() if key.tenant == tenant and fits(selector, each)]
        try:
            removed = self.run(self.replica.purging.purge(tenant, selector, Mode.DELETE))
        except ServiceError as error:
            assert (away, error.reason) == (True, "STORE_DOWN")  # noqa: PT017 - only while it is away
            return
        finally:
            self.store.away = False
        assert removed == len(gone)
        self.purged.append((next(self.serial), tenant, selector))
        for key in gone:
            del self.model[key]
        if self.durable is not None:
            self.durable = dict(self.model)

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        """Leases end."""
        self.clock.advance(seconds)

    @rule()
    def flush(self) -> None:
        """What memory holds is stored."""
        self.run(self.replica.writes.flush())
        self.durable = dict(self.model)

    @rule()
    def compact(self) -> None:
        """What nobody needs goes."""
        self.run(self.replica.repository.compact())

    @rule()
    def crash(self) -> None:
        """What comes back was there once and was not purged; if all was stored, exactly that comes back."""
        self.replica.live.close()
        self.replica = self.run(Replica(self.store, self.clock).start())
        held = {key: entry for key in _KEYS if (entry := self.replica.cache.peek(key))}
        assert not [entry for entry in held.values() if self.is_purged(entry)]
        if self.durable is not None:
            assert held == self.durable
        self.model = held
        self.durable = None if self.durable is None else dict(held)

    @invariant()
    def agrees(self) -> None:
        """Memory is the model."""
        held = {key: entry for key in _KEYS if (entry := self.replica.cache.peek(key))}
        assert held == self.model
        assert self.replica.cache.size_bytes >= sum(each.size_bytes for each in held.values())


TestPurgeHistory = PurgeHistory.TestCase
TestPurgeHistory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
