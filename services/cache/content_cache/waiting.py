"""Those who wait for a key that someone else generates: told the moment it is decided, never asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from service_common.errors import ServiceError, unavailable

from content_cache.entry import Address, Entry

Decided = tuple[Address, Entry | None]


class Wait:
    """One caller's wait for several keys.

    Attributes:
        pending: Keys not decided yet.
    """

    __slots__ = ("_decided", "_failure", "_wake", "pending")

    def __init__(self, addresses: Iterable[Address]) -> None:
        self.pending = set(addresses)
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
        found, self._decided = self._decided, []
        return found

    def tell(self, address: Address, entry: Entry | None) -> None:
        """Note a decision; one key is told once."""
        self.pending.discard(address)
        self._decided.append((address, entry))
        self._wake.set()

    def fail(self, error: ServiceError) -> None:
        """End the wait with an error."""
        self._failure = error
        self._wake.set()


class WaitingRoom:
    """All waits, by key."""

    def __init__(self) -> None:
        self._waits: dict[Address, set[Wait]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._waits)

    def enter(self, addresses: Iterable[Address]) -> Wait:
        """Begin to wait for keys; each successful entry is paired with one `leave`.

        Raises:
            ServiceError: UNAVAILABLE once the room is closed.
        """
        if self._closed:
            raise _draining()
        wait = Wait(addresses)
        for address in wait.pending:
            self._waits.setdefault(address, set()).add(wait)
        return wait

    def leave(self, wait: Wait) -> None:
        """Stop waiting for what is not decided yet."""
        for address in wait.pending:
            others = self._waits[address]
            others.discard(wait)
            if not others:
                del self._waits[address]
        wait.pending.clear()

    def settle(self, address: Address, entry: Entry | None) -> None:
        """Tell those who wait for a key what became of it."""
        for wait in self._waits.pop(address, ()):
            wait.tell(address, entry)

    def close(self) -> None:
        """End all waits with UNAVAILABLE, for the server is about to go."""
        self._closed = True
        waits = {each for waits in self._waits.values() for each in waits}
        for wait in waits:
            wait.fail(_draining())


def _draining() -> ServiceError:
    return unavailable("DRAINING", "the server is shutting down; ask again elsewhere or later")
