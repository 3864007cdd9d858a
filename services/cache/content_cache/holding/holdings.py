"""What the cache holds: who comes, who leaves for it, and what all of them take.

Promises: an expired entry is never served; the entries' bytes never exceed the limit, and while they do
because the limit was lowered, they never grow. Every step is synchronous; what has changed is noted among the
effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from content_cache.entry import Address, Entry
from content_cache.eviction import EvictionPolicy
from content_cache.eviction.leave_first import LeaveFirst
from content_cache.eviction.quota import Quota
from content_cache.holding.effects import Effects
from content_cache.holding.expiry import ExpiryIndex
from content_cache.holding.giants import Giants
from content_cache.holding.labels import LabelIndex
from content_cache.holding.lookups import AccessListener, Lookups
from content_cache.holding.rules import PurgeRules
from content_cache.holding.sizes import Sizes
from content_cache.holding.stats import TenantCounters, TenantTable
from content_cache.holding.table import EntryTable


class Holdings:
    """Entries within a byte limit.

    Attributes:
        now: The turn's wall-clock time; time stands still until whoever owns this moves it.
        max_bytes: The limit.
        size_bytes: What all entries take now.
        start_time: When counting began.
        labels: Which entries have which labels.
        rules: What has been purged.
        sizes: What entries take.
        effects: What the turn has asked for so far; to be looked at only.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        policy: EvictionPolicy,
        now: datetime,
        quota: Quota | None = None,
        listener: AccessListener | None = None,
        extra_bytes: int = 0,
    ) -> None:
        """Hold nothing yet.

        Args:
            max_bytes: Most bytes of memory that entries may take.
            policy: Who leaves when there is no room.
            now: What time it is.
            quota: What one tenant may take; also the policy, or around it. None: everything.
            listener: Is told of lookups and entries.
            extra_bytes: What an entry makes others hold, the durable tier's directory for one.
        """
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.labels = LabelIndex()
        self.rules = PurgeRules()
        self.now = self.start_time = now
        self._policy = LeaveFirst(policy)
        self._quota = quota
        self._counters = TenantTable()
        self.sizes = Sizes(self.labels, quota, self._counters, extra_bytes=policy.extra_bytes + extra_bytes)
        self._listener = listener
        self._giants = Giants(max_bytes)
        self._entries = EntryTable()
        self._expiry = ExpiryIndex()
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

    def asked(self, address: Address) -> None:
        """Take note that a caller asked for an address, whatever comes of it."""
        if self._listener is not None:
            self._listener.looked_up(address)

    def hit(self, entry: Entry) -> None:
        """Take note that an entry is handed out."""
        self._lookups.hit(entry)

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

    def put(self, entry: Entry) -> None:
        """Store an entry that fits alone; one whose time has come replaces what is there by nothing."""
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

    def delete(self, address: Address) -> bool:
        """Remove an entry, also a stale one; tell whether there was one."""
        self.peek(address)
        entry = self._entries.get(address)
        if entry is not None:
            self._remove(entry)
        return entry is not None

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
