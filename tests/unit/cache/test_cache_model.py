"""The whole cache against a simple model under random operations and clock moves."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome, Stale
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from service_common.clock import ManualClock

_LIMIT = 3_000
_KEYS = [Address(tenant, key) for tenant in ("a", "b") for key in ("k", "l", "m")]


class CacheHistory(RuleBasedStateMachine):
    """A cache beside a plain ordered dictionary (least recently used first) and a set of leased keys."""

    keys = st.sampled_from(_KEYS)
    sizes = st.integers(0, 1500)
    ttls = st.integers(0, 60)
    windows = st.sampled_from([0, 0, 25])

    def __init__(self) -> None:
        super().__init__()
        tokens = count(1)
        self.clock = ManualClock()
        self.cache = ContentCache(
            max_bytes=_LIMIT, policy=Lru(), clock=self.clock, new_token=lambda: f"t{next(tokens)}"
        )
        self.model: dict[Address, Entry] = {}
        self.leases: dict[Address, tuple[str, datetime]] = {}
        self.durable: dict[Address, Entry | None] = {}
        self.decided: list[tuple[Address, Entry | None]] = []
        self.hits = 0
        self.serial = count()

    def begin(self) -> None:
        """Begin a turn in both: expired leases end and are decided as lost."""
        self.cache.begin_turn()
        now = self.clock.now()
        for key, (_, end) in list(self.leases.items()):
            if end <= now:
                del self.leases[key]
                self.decided.append((key, None))

    def end(self) -> None:
        """Decisions are those the model expects; the durable tier follows the changes."""
        effects = self.cache.take_effects()
        for address, _ in effects.changed:
            self.durable[address] = self.cache.held(address)
        assert sorted(effects.decided, key=repr) == sorted(self.decided, key=repr)
        self.decided.clear()

    def live(self, key: Address) -> Entry | None:
        """Return the model's entry if its time has not come."""
        entry = self.model.get(key)
        if entry is not None and entry.expire_time + timedelta(seconds=entry.stale_s) <= self.clock.now():
            del self.model[key]
            return None
        return entry if entry is not None and entry.expire_time > self.clock.now() else None

    def entry(self, key: Address, size: int, ttl_s: int, window_s: int = 0) -> Entry:
        """Make an entry unlike any other."""
        now = self.clock.now()
        encoded = f"{next(self.serial)}".encode().ljust(size, b"x")
        return Entry(key, encoded, 3, now, now + timedelta(seconds=ttl_s), stale_s=window_s)

    def put(self, entry: Entry) -> None:
        """Store in the model."""
        self.model.pop(entry.address, None)
        if entry.expire_time > self.clock.now():
            while sum(each.size_bytes for each in self.model.values()) + entry.size_bytes > _LIMIT:
                del self.model[next(iter(self.model))]
            self.model[entry.address] = entry
        if self.leases.pop(entry.address, None):
            self.decided.append((entry.address, self.model.get(entry.address)))

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.begin()
        self.end()

    @rule(key=keys)
    def get(self, key: Address) -> None:
        """A lookup finds what the model has."""
        self.begin()
        expected = self.live(key)
        assert self.cache.get(key) == expected
        if expected is not None:
            self.model[key] = self.model.pop(key)
            self.hits += 1
        self.end()

    @rule(key=keys, size=sizes, ttl_s=ttls, window_s=windows)
    def set(self, key: Address, size: int, ttl_s: int, window_s: int) -> None:
        """A set replaces and ends the lease."""
        self.begin()
        entry = self.entry(key, size, ttl_s, window_s)
        self.cache.set(entry)
        self.put(entry)
        self.end()

    @rule(key=keys)
    def delete(self, key: Address) -> None:
        """A delete says whether there was something, stale or not."""
        self.begin()
        self.live(key)
        assert self.cache.delete(key) is (key in self.model)
        self.model.pop(key, None)
        self.end()

    @rule(key=keys, ttl_s=st.integers(1, 60))
    def acquire(self, key: Address, ttl_s: int) -> None:
        """An acquire finds the entry or leases the key to the one holder there is, beside what is stale."""
        self.begin()
        expected = self.live(key)
        found = self.cache.acquire(key, holder="h", epoch=0, ttl_s=ttl_s)
        if expected is not None:
            assert found == expected
            self.model[key] = self.model.pop(key)
            self.hits += 1
        else:
            if key in self.model:
                assert isinstance(found, Stale)
                assert found.entry == self.model[key]
                self.model[key] = self.model.pop(key)
                self.hits += 1
                found = found.lease or found.entry
            assert isinstance(found, Lease)
            end = self.clock.now() + timedelta(seconds=ttl_s)
            token, before = self.leases.get(key, (found.token, end))
            assert found.token == token
            self.leases[key] = (token, max(before, end))
        self.end()

    @rule(key=keys, size=sizes, ttl_s=st.integers(1, 60), with_lease=st.booleans())
    def fill(self, key: Address, size: int, ttl_s: int, *, with_lease: bool) -> None:
        """A fill is stored unless someone else's entry is there."""
        self.begin()
        present = self.live(key)
        token = self.leases[key][0] if with_lease and key in self.leases else ""
        entry = self.entry(key, size, ttl_s)
        outcome = self.cache.fill(entry, token)
        if token:
            assert outcome is FillOutcome.FILLED
            self.put(entry)
        elif present is not None:
            assert outcome is FillOutcome.SUPERSEDED
        else:
            assert outcome is FillOutcome.STORED_WITHOUT_LEASE
            self.put(entry)
        self.end()

    @rule(key=keys)
    def pass_on(self, key: Address) -> None:
        """What is only passed on ends the lease with an entry for those who wait, and stores nothing."""
        self.begin()
        entry = self.entry(key, 10, 60)
        token, _ = self.leases.pop(key, ("none", None))
        assert self.cache.fill(entry, token, keep=False) is FillOutcome.PASSED_ON
        if token != "none":
            self.decided.append((key, entry))
        self.end()

    @rule(key=keys)
    def release(self, key: Address) -> None:
        """A release frees the key and tells its waiters."""
        self.begin()
        token, _ = self.leases.pop(key, ("none", None))
        assert self.cache.release(key, token) is (token != "none")
        if token != "none":
            self.decided.append((key, None))
        self.end()

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        """A sweep removes nothing that is still served."""
        self.begin()
        before = len(self.cache)
        assert before - self.cache.sweep(limit) == len(self.cache)
        for key, entry in list(self.model.items()):
            # What was swept takes no space any more; which of the expired ones, is the sweep's choice.
            if entry.is_gone(self.clock.now()) and self.cache.held(key) is None:
                del self.model[key]
        self.end()

    @invariant()
    def agrees_with_the_model(self) -> None:
        """Entries, bytes, counts and the durable tier agree; a key never has an entry and a lease."""
        now = self.clock.now()
        alive = {key for key, entry in self.model.items() if entry.expire_time > now}
        assert all(self.cache.held(key) == self.model[key] for key in alive)
        held = [entry for key in _KEYS if (entry := self.cache.held(key))]
        assert self.cache.size_bytes == sum(entry.size_bytes for entry in held) <= _LIMIT
        assert len(self.cache) == len(held) == sum(each.entries for each in self.cache.all_counters())
        assert sum(each.hits for each in self.cache.all_counters()) == self.hits
        assert all(self.durable.get(key) == self.cache.held(key) for key in _KEYS)
        assert not alive & set(self.leases)
        assert self.cache.active_leases() == len(self.leases)


TestCacheHistory = CacheHistory.TestCase
TestCacheHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
