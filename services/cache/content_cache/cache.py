"""The cache itself: entries, and leases on what is missing, changed by steps that say what is to be done.

Promises, beside those of what it holds: an expired entry is handed out only as stale, to all but the one who
refreshes it; a key with an entry has a lease only while that entry is being refreshed; whenever a lease ends,
its waiters' verdict is among the effects; what was begun before a purge that covers it is not stored.

Steps are grouped in turns: `begin_turn` reads the clock once and time stands still until the next;
`take_effects` ends the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from service_common.clock import Clock
from service_common.errors import ServiceError

from content_cache.entry import Address, Entry
from content_cache.eviction import EvictionPolicy
from content_cache.eviction.quota import Quota
from content_cache.holding.holdings import Holdings
from content_cache.holding.lookups import AccessListener
from content_cache.leasing.early_refresh import EarlyRefresh
from content_cache.leasing.leases import Lease, LeaseTable
from content_cache.leasing.outcomes import FillOutcome, Stale


class ContentCache(Holdings):
    """Holdings, and leases on what is missing.

    Attributes:
        alarms: By their monotonic seconds, the earliest first, the moments at which leases may end.
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
        super().__init__(
            max_bytes=max_bytes,
            policy=policy,
            now=clock.now(),
            quota=quota,
            listener=listener,
            extra_bytes=extra_bytes,
        )
        self._clock = clock
        self._seconds = clock.monotonic()
        self._early = early or EarlyRefresh(lambda: 0.0)
        self._leases = LeaseTable(new_token)
        self.alarms: Sequence[tuple[float, Address, str]] = self._leases.alarms

    def begin_turn(self) -> bool:
        """Let time move on; leases that ran out meanwhile end here. Tell whether any did."""
        self.now = self._clock.now()
        self._seconds = seconds = self._clock.monotonic()
        if not self.alarms or self.alarms[0][0] > seconds:
            return False
        ended = self._leases.expire(seconds)
        self.effects.decided += [(address, None) for address in ended]
        return bool(ended)

    def set(self, entry: Entry) -> None:
        """Store an entry and end the key's lease. One whose time has come replaces what is there by nothing.

        Raises:
            ServiceError: ENTRY_TOO_LARGE; nothing has changed then.
        """
        self.sizes.check(entry, self.max_bytes)
        self.put(entry)
        if self._leases.end(entry.address):
            self._decide(entry.address)

    def acquire(self, address: Address, *, holder: str, epoch: int, ttl_s: float) -> Entry | Lease | Stale:
        """Return the entry, or the key's lease: the caller's own if `lease.holder` is the caller.

        Raises:
            ServiceError: STALE_EPOCH if a later epoch of the same holder has the lease.
        """
        entry = self.peek(address)
        self.asked(address)
        held = self._leases.get(address)
        if entry is not None and not self._early.chooses(holder, entry, lease=held, now=self.now):
            self.hit(entry)
            return entry
        lease = self.lease_to(address, holder=holder, epoch=epoch, ttl_s=ttl_s)
        stale = entry or self.held(address)
        if stale is None:
            self.counters(address.tenant).misses += 1
            return lease
        self.hit(stale)
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
        of_token = lease if lease is not None and lease.token == token else None
        if not keep:
            if of_token is not None:
                self._leases.fulfil(address, token)
                self.effects.decided.append((address, entry))
            return FillOutcome.PASSED_ON
        try:
            self.sizes.check(entry, self.max_bytes)
        except ServiceError:
            self.release(address, token)
            raise
        if of_token is not None:
            self._fulfil(of_token, entry)
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

    def active_leases(self, tenant: str | None = None) -> int:
        """Return how many leases a tenant's callers hold, or everybody's."""
        return len(self._leases) if tenant is None else self._leases.count(tenant)

    def _fulfil(self, lease: Lease, entry: Entry) -> None:
        """Store what a lease was for; what takes long to generate is refreshed the earlier for it."""
        if entry.stale_s and not entry.generation_s:
            entry = replace(entry, generation_s=self._seconds - lease.started_at)
        self.put(entry)
        self._leases.fulfil(lease.address, lease.token)
        self._decide(lease.address)

    def _decide(self, address: Address) -> None:
        self.effects.decided.append((address, self.peek(address)))
