"""Those who wait for a key that someone else generates: told the moment it is decided, never asking again.

Whoever waits with a claim wants to generate the key if its holder does not: of those the one who has waited
longest inherits a lost lease, and the others wait on for the heir.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from service_common.errors import ServiceError, unavailable

from content_cache.entry import Address, Entry
from content_cache.leasing.leases import Lease

Outcome = Entry | Lease | None
"""What became of a key: its entry, the waiter's own lease on it, or neither."""

Decided = tuple[Address, Outcome]


@dataclass(frozen=True, slots=True)
class Claim:
    """Under which name a waiter takes a lost lease over.

    Attributes:
        holder: The name.
        epoch: The holder's fencing epoch.
        ttl_s: How long the lease is to last.
    """

    holder: str
    epoch: int
    ttl_s: float


class Wait:
    """One caller's wait for several keys.

    Attributes:
        pending: Keys not decided yet.
        claim: How the caller takes over what is lost; None if it does not.
    """

    __slots__ = ("_decided", "_failure", "_wake", "claim", "pending")

    def __init__(self, addresses: Iterable[Address], claim: Claim | None = None) -> None:
        self.pending = set(addresses)
        self.claim = claim
        self._decided: list[Decided] = []
        self._failure: ServiceError | None = None
        self._wake = asyncio.Event()

    async def decided(self) -> list[Decided]:
        """Return the keys decided since the last call, at least one.

        Raises:
            ServiceError: UNAVAILABLE when the room closes first.
        """
        await self._wake.wait()
        self._wake.clear()
        if self._failure is not None:
            raise self._failure
        return self.take()

    def take(self) -> list[Decided]:
        """Return the keys decided and not returned yet, perhaps none."""
        found, self._decided = self._decided, []
        return found

    def tell(self, address: Address, outcome: Outcome) -> None:
        """Note a decision; one key is told once."""
        self.pending.discard(address)
        self._decided.append((address, outcome))
        self._wake.set()

    def fail(self, error: ServiceError) -> None:
        """End the wait with an error."""
        self._failure = error
        self._wake.set()


class WaitingRoom:
    """All waits, by key, in the order they came."""

    def __init__(self) -> None:
        self._waits: dict[Address, dict[Wait, None]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._waits)

    def enter(self, addresses: Iterable[Address], claim: Claim | None = None) -> Wait:
        """Begin to wait for keys; each successful entry is paired with one `leave`.

        Raises:
            ServiceError: UNAVAILABLE once the room is closed.
        """
        if self._closed:
            raise _draining()
        wait = Wait(addresses, claim)
        for address in wait.pending:
            self._waits.setdefault(address, {})[wait] = None
        return wait

    def leave(self, wait: Wait) -> None:
        """Stop waiting for what is not decided yet."""
        for address in tuple(wait.pending):
            self._remove(address, wait)
        wait.pending.clear()

    def settle(self, address: Address, entry: Entry | None) -> None:
        """Tell those who wait for a key what became of it."""
        for wait in self._waits.pop(address, ()):
            wait.tell(address, entry)

    def heir(self, address: Address) -> Wait | None:
        """Return who takes a key's lost lease over: whoever has waited longest of those who want it."""
        if self._closed:
            return None
        return next((each for each in self._waits.get(address, ()) if each.claim is not None), None)

    def inherit(self, wait: Wait, lease: Lease) -> None:
        """Tell one of those who wait that it has the lease now; the others wait on."""
        self._remove(lease.address, wait)
        wait.tell(lease.address, lease)

    def close(self) -> None:
        """End all waits with UNAVAILABLE, for the server is about to go."""
        self._closed = True
        waits = {each for waits in self._waits.values() for each in waits}
        for wait in waits:
            wait.fail(_draining())

    def _remove(self, address: Address, wait: Wait) -> None:
        others = self._waits[address]
        others.pop(wait, None)
        if not others:
            del self._waits[address]


def _draining() -> ServiceError:
    return unavailable("DRAINING", "the server is shutting down; ask again elsewhere or later")
