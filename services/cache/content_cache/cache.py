"""The cache itself: entries, leases and counts, changed by synchronous steps that say what is to be done.

Promises: an expired entry is never served, except as stale to all but the one who refreshes it; the entries'
bytes never exceed the limit, and while they do because the limit was lowered, they never grow; a key with an
entry has a lease only while that entry is being refreshed; whenever a lease ends, its waiters' verdict is
among the effects; what was begun before a purge that covers it is not stored.

Steps are grouped in turns: `begin_turn` reads the clock once and time stands still until the next;
`take_effects` ends the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.early_refresh import EarlyRefresh
from content_cache.entry import Address, Entry
from content_cache.entry_table import EntryTable
from content_cache.eviction import EvictionPolicy
from content_cache.expiry import ExpiryIndex
from content_cache.giants import Giants
from content_cache.labels import LabelIndex
from content_cache.leases import Lease, LeaseTable
from content_cache.leave_first import LeaveFirst
from content_cache.lookups import AccessListener, Lookups
from content_cache.outcomes import Effects, FillOutcome, Stale
from content_cache.quota import Quota
from content_cache.rules import PurgeRules
from content_cache.sizes import Sizes
from content_cache.stats import TenantCounters, TenantTable


class ContentCache:
    """Entries within a byte limit and leases on what is missing.

    Attributes:
        now: The turn's wall-clock time.
        max_bytes: The limit.
        size_bytes: What all entries take now.
        start_time: When counting began.
        labels: Which entries have which labels.
        rules: What has been purged.
        sizes: What entries take.
        alarms: By their monotonic seconds, the earliest first, the moments at which leases may end.
        effects: What the turn has asked for so far; to be looked at only.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        policy: EvictionPolicy,
        clock: Clock,
        new_token: Callable[[], str],
        early: EarlyRefresh | None = None,
        quota: Quota | None = None,
        listener: AccessListener | None = None,
        extra_bytes: int = 0,
    ) -> None:
        """Make an empty cache.

        Args:
            max_bytes: Most bytes of memory that entries may take.
            policy: Who leaves when there is no room.
            clock: What time it is.
            new_token: Makes lease tokens.
            early: Chooses who refreshes an entry before it expires; None: nobody does.
            quota: What one tenant may take; also the policy, or around it. None: everything.
            listener: Is told of lookups and entries.
            extra_bytes: What an entry makes others hold, the durable tier's directory for one.
        """
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.labels = LabelIndex()
        self.rules = PurgeRules()
        self.now = self.start_time = clock.now()
        self._clock = clock
        self._seconds = clock.monotonic()
        self._policy = LeaveFirst(policy)
        self._early = early or EarlyRefresh(lambda: 0.0)
        self._quota = quota
        self._counters = TenantTable()
        self.sizes = Sizes(self.labels, quota, self._counters, extra_bytes=policy.extra_bytes + extra_bytes)
        self._listener = listener
        self._giants = Giants(max_bytes)
        self._entries = EntryTable()
        self._expiry = ExpiryIndex()
        self._leases = LeaseTable(new_token)
        self.alarms: Sequence[tuple[float, Address, str]] = self._leases.alarms
        self.effects = Effects()
        self._lookups = Lookups(
            self._entries,
            self._counters,
            giants=self._giants,
            policy=self._policy,
            gone=self._expire,
            listener=listener,
        )

    def __len__(self) -> int:
        return len(self._entries)

    def begin_turn(self) -> bool:
        """Let time move on; leases that ran out meanwhile end here. Tell whether any did."""
        self.now = self._clock.now()
        self._seconds = seconds = self._clock.monotonic()
        if not self.alarms or self.alarms[0][0] > seconds:
            return False
        ended = self._leases.expire(seconds)
        self.effects.decided += [(address, None) for address in ended]
        return bool(ended)

    def take_effects(self) -> Effects:
        """Return what the turn asks of the world outside, once."""
        effects, self.effects = self.effects, Effects()
        return effects

    def get(self, address: Address) -> Entry | None:
        """Look an entry up; counts, and makes it recently used."""
        return self._lookups.one(address, self.now)

    def get_many(self, tenant: str, keys: Sequence[str]) -> list[Entry | None]:
        """Look entries of one tenant up as `get` does, each in its key's place."""
        return self._lookups.many(tenant, keys, self.now)

    def peek(self, address: Address) -> Entry | None:
        """Look an entry up without a trace."""
        entry = self._entries.get(address)
        if entry is None or entry.expire_time > self.now:
            return entry
        if entry.is_gone(self.now):
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
        self.sizes.check(entry, self.max_bytes)
        self._put(entry)
        if self._leases.end(entry.address):
            self._decide(entry.address)

    def delete(self, address: Address) -> bool:
        """Remove an entry, also a stale one; tell whether there was one. Leases are untouched."""
        self.peek(address)
        entry = self._entries.get(address)
        if entry is not None:
            self._remove(entry)
        return entry is not None

    def acquire(self, address: Address, *, holder: str, epoch: int, ttl_s: float) -> Entry | Lease | Stale:
        """Return the entry, or the key's lease: the caller's own if `lease.holder` is the caller.

        Raises:
            ServiceError: STALE_EPOCH if a later epoch of the same holder has the lease.
        """
        entry = self.peek(address)
        if self._listener is not None:
            self._listener.looked_up(address)
        held = self._leases.get(address)
        if entry is not None and not self._early.chooses(holder, entry, lease=held, now=self.now):
            self._lookups.hit(entry)
            return entry
        lease = self.lease_to(address, holder=holder, epoch=epoch, ttl_s=ttl_s)
        stale = entry or self._entries.get(address)
        if stale is None:
            self.counters(address.tenant).misses += 1
            return lease
        self._lookups.hit(stale)
        self.counters(address.tenant).stale_hits += entry is None
        return Stale(stale, lease if lease.holder == holder else None)

    def lease_to(self, address: Address, *, holder: str, epoch: int, ttl_s: float) -> Lease:
        """Return the key's lease whether or not it has an entry, the caller's own if nobody else has it.

        Raises:
            ServiceError: STALE_EPOCH if a later epoch of the same holder has the lease.
        """
        era = self.rules.era(address.tenant)
        return self._leases.acquire(
            address, holder=holder, epoch=epoch, ttl_s=ttl_s, now=self._seconds, era=era
        )

    def fill(self, entry: Entry, token: str, *, keep: bool = True) -> FillOutcome:
        """Store generated content unless someone else's is there; ends the key's lease if it stores.

        Args:
            entry: The content, of the token's era.
            token: Of the lease it was generated under; empty without one.
            keep: Whether to store it; otherwise only those who wait for the token's lease get it.

        Raises:
            ServiceError: ENTRY_TOO_LARGE; the token's lease is released then.
        """
        address = entry.address
        if token and self._leases.was_fulfilled(address, token):
            return FillOutcome.FILLED if keep else FillOutcome.PASSED_ON
        if self.rules.deletes(entry):
            self.release(address, token)
            return FillOutcome.PURGED
        lease = self._leases.get(address)
        if not keep:
            if lease is not None and lease.token == token:
                self._leases.fulfil(address, token)
                self.effects.decided.append((address, entry))
            return FillOutcome.PASSED_ON
        try:
            self.sizes.check(entry, self.max_bytes)
        except ServiceError:
            self.release(address, token)
            raise
        if lease is not None and lease.token == token:
            if entry.stale_s and not entry.generation_s:
                entry = replace(entry, generation_s=self._seconds - lease.started_at)
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

    def restore(self, entry: Entry, *, make_room: bool = False) -> bool:
        """Take back what is stored durably; tell whether there was need and room, or could be made."""
        if entry.is_gone(self.now) or entry.address in self._entries or self.rules.deletes(entry):
            return False
        if make_room and self.sizes.fits_alone(entry, self.max_bytes):
            self._make_room(entry)
        if self.size_bytes + self.sizes.added(entry) > self.max_bytes or self.sizes.exceeds_quota(entry):
            return False
        tags = self.labels.shared(entry.address.tenant, entry.tags)
        self._insert(entry if tags is entry.tags else replace(entry, tags=tags))
        if self.rules.marks(entry):
            self._policy.mark(entry.address)
        return True

    def enforce(self, address: Address) -> bool:
        """Do what the rules say about an entry; tell whether that changed anything."""
        entry = self._entries.get(address)
        if entry is not None and self.rules.deletes(entry):
            self.counters(address.tenant).purged += 1
            self._remove(entry)
            return True
        return entry is not None and self.rules.marks(entry) and self._policy.mark(address)

    def repack(self, entry: Entry, packed: Entry) -> bool:
        """Hold an entry in another form if it is still there; tell whether it was. Nobody's place changes."""
        if self._entries.get(entry.address) is not entry:
            return False
        self._entries[entry.address] = packed
        if self._listener is not None:
            self._listener.resized(entry.address, self.bytes_of(packed))
        self._account(packed, 0, packed.size_bytes - entry.size_bytes)
        return True

    def bytes_of(self, entry: Entry) -> int:
        """Return what an entry takes, its places in policy and directory included."""
        return entry.size_bytes + self.sizes.own_bytes

    def resize(self, max_bytes: int) -> None:
        """Set another limit; what exceeds a lower one leaves by `shrink`, a few at a time."""
        self.max_bytes = max_bytes
        self._giants.resize(max_bytes)

    def shrink(self, limit: int) -> int:
        """Evict up to `limit` entries while the limit is exceeded and return how many."""
        evicted = 0
        while self._entries and self.size_bytes > self.max_bytes and evicted < limit:
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
        return self._counters[tenant]

    def all_counters(self) -> list[TenantCounters]:
        """Return every tenant's counts; safe to call from another thread."""
        return list(self._counters.values())

    def active_leases(self, tenant: str | None = None) -> int:
        """Return how many leases a tenant's callers hold, or everybody's."""
        return len(self._leases) if tenant is None else self._leases.count(tenant)

    def _decide(self, address: Address) -> None:
        self.effects.decided.append((address, self.peek(address)))

    def _put(self, entry: Entry) -> None:
        before = self._entries.get(entry.address)
        if entry.is_expired(self.now):
            if before is not None:
                self._remove(before)
            return
        if before is not None:
            self._forget(before)
        self._make_room(entry)
        self._insert(entry)
        self.effects.changed.append((entry.address, before))

    def _make_room(self, entry: Entry) -> None:
        while self._quota is not None and self.sizes.exceeds_quota(entry):
            self._evict(self._quota.victim_of(entry.address.tenant), for_quota=True)
        # After the limit was lowered nobody's call evicts for all: it only must not make it worse.
        limit, size = max(self.max_bytes, self.size_bytes), self.bytes_of(entry)
        while self.size_bytes + self.sizes.added(entry) > limit:
            self._evict(self._giants.displaced(size) or self._policy.victim())

    def _evict(self, address: Address, *, for_quota: bool = False) -> None:
        victim = self._entries[address]
        if victim.is_gone(self.now):
            self._expire(victim)
            return
        counters = self.counters(address.tenant)
        counters.quota_evictions += for_quota
        counters.evictions += not for_quota
        self._forget(victim)
        self.effects.changed.append((address, victim))

    def _expire(self, entry: Entry) -> None:
        self.counters(entry.address.tenant).expirations += 1
        self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        self._forget(entry)
        self.effects.changed.append((entry.address, entry))
        if self._listener is not None:
            self._listener.dropped(entry.address)

    def _insert(self, entry: Entry) -> None:
        address, size = entry.address, self.bytes_of(entry)
        self._entries[address] = entry
        self._policy.added(entry)
        self._expiry.add(entry)
        if size > self._giants.above_bytes:
            self._giants.added(address, size)
        if self._listener is not None:
            self._listener.stored(address, size)
        self._account(entry, 1, size + self.labels.add(entry))

    def _forget(self, entry: Entry) -> None:
        address, size = entry.address, self.bytes_of(entry)
        del self._entries[address]
        self._policy.removed(address)
        self._expiry.discard(entry)
        if self._giants:
            self._giants.removed(address)
        self._account(entry, -1, -size - self.labels.discard(entry))

    def _account(self, entry: Entry, entries: int, size: int) -> None:
        self.size_bytes += size
        counters = self.counters(entry.address.tenant)
        counters.entries += entries
        counters.size_bytes += size
