"""Who may generate a key's content now: at most one holder, until it fills, releases or lets time run out.

A lease's token tells the era in which it was taken, so that what was leased before a purge is known after it,
also when the lease itself is forgotten. Time is handed in as monotonic seconds. A lease's end is decided here
alone; telling those who wait is the caller's part.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from heapq import heapify, heappop, heappush

from service_common.errors import failed_precondition
from service_common.frozen import dataclass

from content_cache.entry import Address

FILLED_TOKENS_KEPT = 50_000
"""How many tokens of filled leases are remembered, so that a repeated fill is recognised."""

_SPARE_ALARMS = 1024
_MOST_ERA_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to generate one key's content.

    Attributes:
        address: Which key.
        holder: Who holds it, by a name that survives a restart.
        epoch: The holder's fencing epoch.
        token: Opaque proof, new for every epoch.
        expires_at: Monotonic second at which it ends unless renewed.
        started_at: Monotonic second at which this epoch of the holder got it.
    """

    address: Address
    holder: str
    epoch: int
    token: str
    expires_at: float
    started_at: float = 0.0


def token_of_era(random: str, era: int) -> str:
    """Return a token that tells its era."""
    return f"{random}.{era}" if era else random


def era_of_token(token: str) -> int:
    """Return the era in which a token was made; 0, the earliest, for what is no token of ours."""
    _, dot, era = token.rpartition(".")
    is_number = era.isascii() and era.isdecimal() and len(era) <= _MOST_ERA_DIGITS
    return int(era) if dot and is_number else 0


class LeaseTable:
    """All leases. `expire` comes before all other calls of a moment, so what is in the table is live.

    Attributes:
        alarms: A heap of when to call `expire`, always the same list; to be looked at only. At least one per
            lease at or before its end; those of ended or renewed leases ring in vain.
    """

    __slots__ = ("_filled", "_leases", "_new_token", "_per_tenant", "alarms")

    def __init__(self, new_token: Callable[[], str]) -> None:
        self._new_token = new_token
        self._leases: dict[Address, Lease] = {}
        self._per_tenant: Counter[str] = Counter()
        self.alarms: list[tuple[float, Address, str]] = []
        self._filled: OrderedDict[tuple[Address, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, address: Address) -> Lease | None:
        """Return the key's lease."""
        return self._leases.get(address)

    def count(self, tenant: str) -> int:
        """Return how many leases a tenant's callers hold."""
        return self._per_tenant[tenant]

    def next_alarm(self) -> float | None:
        """Return when `expire` should be called next, not later than the first end; None without leases."""
        return self.alarms[0][0] if self.alarms and self._leases else None

    def expire(self, now: float) -> list[Address]:
        """End the leases whose time has run out and return their keys."""
        ended: list[Address] = []
        while self.alarms and self.alarms[0][0] <= now:
            _, address, token = heappop(self.alarms)
            lease = self._leases.get(address)
            if lease is None or lease.token != token:
                continue
            if lease.expires_at <= now:
                self._remove(lease)
                ended.append(address)
            else:
                self._set_alarm(lease)
        return ended

    def acquire(
        self, address: Address, *, holder: str, epoch: int, ttl_s: float, now: float, era: int = 0
    ) -> Lease:
        """Return the key's lease: the caller's if `lease.holder` is the caller, else another's to wait for.

        The same holder and epoch keep their lease, extended if asked for longer. A higher epoch inherits it
        under a new token.

        Raises:
            ServiceError: STALE_EPOCH if a later epoch of the same holder has it.
        """
        present = self._leases.get(address)
        if present is not None and present.holder != holder:
            return present
        if present is None or epoch > present.epoch:
            token = token_of_era(self._new_token(), era)
            return self._put(Lease(address, holder, epoch, token, now + ttl_s, now))
        if epoch < present.epoch:
            raise failed_precondition("STALE_EPOCH", f"epoch {present.epoch} of this holder has the lease")
        if now + ttl_s <= present.expires_at:
            return present
        return self._put(replace(present, expires_at=now + ttl_s))

    def renew(self, address: Address, token: str, *, ttl_s: float, now: float) -> Lease:
        """Let a lease end `ttl_s` from now.

        Raises:
            ServiceError: LEASE_LOST if the token's lease is over.
        """
        present = self._leases.get(address)
        if present is None or present.token != token:
            raise failed_precondition(
                "LEASE_LOST", "the lease has expired, was released, filled or taken over"
            )
        return self._put(replace(present, expires_at=now + ttl_s))

    def release(self, address: Address, token: str) -> bool:
        """End the token's lease; tell whether it was held until now."""
        present = self._leases.get(address)
        if present is None or present.token != token:
            return False
        self._remove(present)
        return True

    def fulfil(self, address: Address, token: str) -> None:
        """End the token's lease because its content has come, and remember that."""
        self.release(address, token)
        self._filled[address, token] = None
        while len(self._filled) > FILLED_TOKENS_KEPT:
            self._filled.popitem(last=False)

    def was_fulfilled(self, address: Address, token: str) -> bool:
        """Tell whether the token's content has come, as far as is remembered."""
        return (address, token) in self._filled

    def end(self, address: Address) -> bool:
        """End the key's lease whoever holds it; tell whether there was one."""
        present = self._leases.get(address)
        if present is None:
            return False
        self._remove(present)
        return True

    def _put(self, lease: Lease) -> Lease:
        before = self._leases.get(lease.address)
        self._leases[lease.address] = lease
        if before is None:
            self._per_tenant[lease.address.tenant] += 1
        # A later end needs no alarm of its own: the one before rings first and sets the next.
        if before is None or before.token != lease.token or lease.expires_at < before.expires_at:
            self._set_alarm(lease)
        return lease

    def _remove(self, lease: Lease) -> None:
        del self._leases[lease.address]
        self._per_tenant[lease.address.tenant] -= 1

    def _set_alarm(self, lease: Lease) -> None:
        if len(self.alarms) > 2 * len(self._leases) + _SPARE_ALARMS:
            self.alarms[:] = [(each.expires_at, each.address, each.token) for each in self._leases.values()]
            heapify(self.alarms)
            return
        heappush(self.alarms, (lease.expires_at, lease.address, lease.token))
