"""The cache itself: entries, leases and counts, changed by synchronous steps that say what is to be done.

Promises: an expired entry is never served; the entries' bytes never exceed the limit, and while they do
because the limit was lowered, they never grow; a key has an entry or a lease or neither, never both; whenever
a lease ends, its waiters' verdict is among the effects.

Steps are grouped in turns: `begin_turn` reads the clock once and time stands still until the next;
`take_effects` ends the turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from service_common.clock import Clock
from service_common.errors import ServiceError, resource_exhausted

from content_cache.entry import Address, Entry
from content_cache.eviction import EvictionPolicy
from content_cache.expiry import ExpiryIndex
from content_cache.giants import Giants
from content_cache.leases import Lease, LeaseTable
from content_cache.miss_ratio_curve import AccessListener
from content_cache.stats import TenantCounters
from content_cache.table import PARTS, Table


class FillOutcome(Enum):
    """What became of generated content."""

    FILLED = "FILLED"
    STORED_WITHOUT_LEASE = "STORED_WITHOUT_LEASE"
    SUPERSEDED = "SUPERSEDED"


@dataclass(slots=True)
class Effects:
    """What a turn asks of the world outside.

    Attributes:
        changed: Keys whose entry is another or gone, with the entry before; the durable tier must follow.
        decided: Keys whose lease ended, with the entry now there; waiters must be told.
    """

    changed: list[tuple[Address, Entry | None]] = field(default_factory=list)
    decided: list[tuple[Address, Entry | None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.decided)


class ContentCache:
    """Entries within a byte limit and leases on what is missing.

    Attributes:
        now: The turn's wall-clock time.
        max_bytes: The limit.
        size_bytes: What all entries take now.
        start_time: When counting began.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        policy: EvictionPolicy,
        clock: Clock,
        new_token: Callable[[], str],
        listener: AccessListener | None = None,
        extra_bytes: int = 0,
    ) -> None:
        """Make an empty cache.

        Args:
            max_bytes: Most bytes of memory that entries may take.
            policy: Who leaves when there is no room.
            clock: What time it is.
            new_token: Makes lease tokens.
            listener: Is told of lookups and entries.
            extra_bytes: What an entry makes others hold, the durable tier's directory for one.
        """
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.now = clock.now()
        self.start_time = self.now
        self._clock = clock
        self._seconds = clock.monotonic()
        self._policy = policy
        self._extra_bytes = policy.extra_bytes + extra_bytes
        self._listener = listener
        self._giants = Giants(max_bytes)
        self._entries: Table[Entry] = Table()
        self._expiry = ExpiryIndex()
        self._leases = LeaseTable(new_token)
        self._counters: dict[str, TenantCounters] = {}
        self._effects = Effects()

    def __len__(self) -> int:
        return len(self._entries)

    def begin_turn(self) -> None:
        """Let time move on; leases that ran out meanwhile end here."""
        self.now = self._clock.now()
        self._seconds = self._clock.monotonic()
        for address in self._leases.expire(self._seconds):
            self._effects.decided.append((address, None))

    def take_effects(self) -> Effects:
        """Return what the turn asks of the world outside, once."""
        effects = self._effects
        if effects:
            self._effects = Effects()
        return effects

    def get(self, address: Address) -> Entry | None:
        """Look an entry up; counts, and makes it recently used."""
        counters = self.counters(address.tenant)
        entry = self.peek(address)
        if self._listener is not None:
            self._listener.looked_up(address)
        if entry is None:
            counters.misses += 1
            return None
        self._policy.used(entry.address)
        if self._giants:
            self._giants.used(entry.address)
        counters.hits += 1
        counters.saved_micros += entry.cost_micros
        return entry

    def peek(self, address: Address) -> Entry | None:
        """Look an entry up without a trace."""
        entry = self._entries.parts[hash(address) % PARTS].get(address)
        if entry is None or entry.expire_time > self.now:
            return entry
        self._expire(entry)
        return None

    def held(self, address: Address) -> Entry | None:
        """Return what takes memory under an address, expired or not."""
        return self._entries.get(address)

    def set(self, entry: Entry) -> None:
        """Store an entry and end the key's lease. One whose time has come replaces what is there by nothing.

        Raises:
            ServiceError: ENTRY_TOO_LARGE; nothing has changed then.
        """
        self._check_size(entry)
        self._put(entry)
        if self._leases.end(entry.address):
            self._decide(entry.address)

    def delete(self, address: Address) -> bool:
        """Remove an entry; tell whether there was one. Leases are untouched."""
        entry = self.peek(address)
        if entry is None:
            return False
        self._remove(entry)
        self._drop(address)
        return True

    def acquire(self, address: Address, *, holder: str, epoch: int, ttl_s: float) -> Entry | Lease:
        """Return the entry, or the key's lease: the caller's own if `lease.holder` is the caller.

        Raises:
            ServiceError: STALE_EPOCH if a later epoch of the same holder has the lease.
        """
        entry = self.get(address)
        if entry is not None:
            return entry
        return self._leases.acquire(address, holder=holder, epoch=epoch, ttl_s=ttl_s, now=self._seconds)

    def fill(self, entry: Entry, token: str) -> FillOutcome:
        """Store generated content unless someone else's is there; ends the key's lease if it stores.

        Args:
            entry: The content.
            token: Of the lease it was generated under; empty without one.

        Raises:
            ServiceError: ENTRY_TOO_LARGE; the token's lease is released then.
        """
        address = entry.address
        if token and self._leases.was_fulfilled(address, token):
            return FillOutcome.FILLED
        try:
            self._check_size(entry)
        except ServiceError:
            self.release(address, token)
            raise
        lease = self._leases.get(address)
        if lease is not None and lease.token == token:
            self._put(entry)
            self._leases.fulfil(address, token)
            self._decide(address)
            return FillOutcome.FILLED
        if self.peek(address) is not None:
            return FillOutcome.SUPERSEDED
        self.set(entry)
        return FillOutcome.STORED_WITHOUT_LEASE

    def renew(self, address: Address, token: str, *, ttl_s: float) -> Lease:
        """Let a lease end `ttl_s` from now.

        Raises:
            ServiceError: LEASE_LOST if the token's lease is over.
        """
        return self._leases.renew(address, token, ttl_s=ttl_s, now=self._seconds)

    def release(self, address: Address, token: str) -> bool:
        """End the token's lease without content; tell whether it was held until now."""
        released = self._leases.release(address, token)
        if released:
            self._decide(address)
        return released

    def lease(self, address: Address) -> Lease | None:
        """Return the key's lease."""
        return self._leases.get(address)

    def remaining_s(self, lease: Lease) -> float:
        """Return how long a lease lasts from now unless renewed."""
        return lease.expires_at - self._seconds

    def next_lease_alarm(self) -> float | None:
        """Return the monotonic second by which the next turn must begin; None without leases."""
        return self._leases.next_alarm()

    def restore(self, entry: Entry) -> bool:
        """Take back an entry that is stored durably already; tell whether there was room and need for it."""
        if entry.is_expired(self.now) or entry.address in self._entries:
            return False
        if self.size_bytes + self.bytes_of(entry) > self.max_bytes:
            return False
        self._insert(entry)
        return True

    def bytes_of(self, entry: Entry) -> int:
        """Return what an entry takes, its places in policy and directory included."""
        return entry.size_bytes + self._extra_bytes

    def resize(self, max_bytes: int) -> None:
        """Set another limit; what exceeds a lower one leaves by `shrink`, a few at a time."""
        self.max_bytes = max_bytes
        self._giants.resize(max_bytes)

    def shrink(self, limit: int) -> int:
        """Evict up to `limit` entries while the limit is exceeded and return how many."""
        evicted = 0
        while self.size_bytes > self.max_bytes and evicted < limit:
            self._evict(self._policy.victim())
            evicted += 1
        return evicted

    def sweep(self, limit: int) -> int:
        """Remove up to `limit` expired entries and return how many; call again while it returns `limit`."""
        due = self._expiry.take_due(self.now, limit)
        for address in due:
            self._expire(self._entries[address])
        return len(due)

    def counters(self, tenant: str) -> TenantCounters:
        """Return a tenant's counts."""
        found = self._counters.get(tenant)
        if found is None:
            found = self._counters[tenant] = TenantCounters()
        return found

    def all_counters(self) -> list[TenantCounters]:
        """Return every tenant's counts; safe to call from another thread."""
        return list(self._counters.values())

    def active_leases(self, tenant: str | None = None) -> int:
        """Return how many leases a tenant's callers hold, or everybody's."""
        return len(self._leases) if tenant is None else self._leases.count(tenant)

    def _check_size(self, entry: Entry) -> None:
        size = self.bytes_of(entry)
        if size > self.max_bytes:
            raise resource_exhausted(
                "ENTRY_TOO_LARGE",
                f"the entry takes {size} bytes of memory; the cache has {self.max_bytes}",
            )

    def _decide(self, address: Address) -> None:
        self._effects.decided.append((address, self.peek(address)))

    def _put(self, entry: Entry) -> None:
        before = self._entries.get(entry.address)
        if before is not None:
            self._forget(before)
        if entry.is_expired(self.now):
            if before is not None:
                self._drop(entry.address)
                self._effects.changed.append((entry.address, before))
            return
        self._make_room(self.bytes_of(entry))
        self._insert(entry)
        self._effects.changed.append((entry.address, before))

    def _make_room(self, size: int) -> None:
        # After the limit was lowered nobody's call evicts for all: it only must not make it worse.
        limit = max(self.max_bytes, self.size_bytes)
        while self.size_bytes + size > limit:
            self._evict(self._giants.displaced(size) or self._policy.victim())

    def _evict(self, address: Address) -> None:
        victim = self._entries[address]
        if victim.is_expired(self.now):
            self._expire(victim)
            return
        self.counters(victim.address.tenant).evictions += 1
        self._remove(victim)

    def _expire(self, entry: Entry) -> None:
        self.counters(entry.address.tenant).expirations += 1
        self._remove(entry)
        self._drop(entry.address)

    def _drop(self, address: Address) -> None:
        if self._listener is not None:
            self._listener.dropped(address)

    def _remove(self, entry: Entry) -> None:
        self._forget(entry)
        self._effects.changed.append((entry.address, entry))

    def _insert(self, entry: Entry) -> None:
        address, size = entry.address, self.bytes_of(entry)
        self._entries[address] = entry
        self._policy.added(entry)
        self._expiry.add(entry)
        if size > self._giants.above_bytes:
            self._giants.added(address, size)
        if self._listener is not None:
            self._listener.stored(address, size)
        self.size_bytes += size
        counters = self.counters(address.tenant)
        counters.entries += 1
        counters.size_bytes += size

    def _forget(self, entry: Entry) -> None:
        address, size = entry.address, self.bytes_of(entry)
        del self._entries[address]
        self._policy.removed(address)
        self._expiry.discard(entry)
        if self._giants:
            self._giants.removed(address)
        self.size_bytes -= size
        counters = self.counters(address.tenant)
        counters.entries -= 1
        counters.size_bytes -= size
