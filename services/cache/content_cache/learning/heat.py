"""What was used, how recently and how often: of the keys used last, as many as bounded memory holds.

It outlives a restart as a snapshot: per key eight bytes of a digest and one of uses, in the order of the last
use. So a start knows what was in demand, though entries are stored once and never again.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, count
from typing import Final

from content_cache.entry import Address, Entry
from content_cache.moments import micros

MOST_KEYS: Final = 32_768
"""Keys remembered, about: ten megabytes at most, and a snapshot of 300 KiB."""

_MOST_USES: Final = 255
_KEY: Final = struct.Struct(">QB")


class Heat:
    """The keys used last, with their uses, in two generations: when the young one is full the old one goes.

    Lookups are taken in many at a time, each at the cost of two steps of a dictionary.

    Attributes:
        changes: How often lookups were taken in.

    Args:
        most_keys: Most keys of a generation; one call may exceed it by its own keys.
    """

    __slots__ = ("_most_keys", "_old", "_serial", "_young", "changes")

    def __init__(self, most_keys: int = MOST_KEYS // 2) -> None:
        self.changes = 0
        self._most_keys = most_keys
        self._serial = 0
        self._young = _Generation()
        self._old = _Generation()

    def __len__(self) -> int:
        return len(self._young.last) + len(self._old.last)

    def followed(self, recent: Sequence[Address]) -> None:
        """Take note of lookups in their order."""
        self.changes += 1
        self._young.uses.update(recent)
        self._young.last.update(zip(recent, count(self._serial)))
        self._serial += len(recent)
        self._turn_over()

    def remember(self, address: Address, uses: int) -> None:
        """Take note of what was known before a restart; the most recent last."""
        if uses:
            self._young.uses[address] = uses
            self._young.last[address] = self._serial
            self._serial += 1
            self._turn_over()

    def uses(self, address: Address) -> int:
        """Return how often a key was used as far as remembered; 0 if it is not."""
        return self._young.uses[address] + self._old.uses[address]

    def parts(self) -> Iterator[list[tuple[Address, int]]]:
        """Yield the keys and their uses in two parts, the one used last at the end, in milliseconds each."""
        young, old = self._young.last, self._old.last
        forgotten = [each for each in sorted(old, key=old.__getitem__) if each not in young]
        yield [(each, self.uses(each)) for each in forgotten]
        yield [(each, self.uses(each)) for each in sorted(young, key=young.__getitem__)]

    def order(self) -> list[tuple[Address, int]]:
        """Return the keys and their uses, the one used last at the end."""
        return list(chain.from_iterable(self.parts()))

    def _turn_over(self) -> None:
        if len(self._young.last) >= self._most_keys:
            self._old, self._young = self._young, _Generation()


class _Generation:
    """Keys with their uses, and the number of the lookup that was their last."""

    __slots__ = ("last", "uses")

    def __init__(self) -> None:
        self.last: dict[Address, int] = {}
        self.uses: Counter[Address] = Counter()


class StoredHeat:
    """What snapshots said; nothing before any was read."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # By digest: when it was used last, as far as order tells, and how often.
        self._known: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, snapshot: bytes, written: int) -> None:
        """Take a snapshot in; of a key in several the later one holds. A damaged one says nothing.

        Args:
            snapshot: What `encode` made.
            written: When, in microseconds since 1970.
        """
        if len(snapshot) % _KEY.size:
            return
        first = written - len(snapshot) // _KEY.size
        for position, (digest, uses) in enumerate(_KEY.iter_unpack(snapshot)):
            used = first + position
            if used > self._known.get(digest, (0, 0))[0]:
                self._known[digest] = (used, uses)

    def last_use(self, entry: Entry) -> int:
        """Return when an entry was used last, or else stored, in microseconds since 1970.

        Exact in its order only: what a snapshot names comes after all that is older than it and not in it.
        """
        created = micros(entry.create_time)
        known = self._known.get(_digest(entry.address)) if self._known else None
        return created if known is None else max(created, known[0])

    def uses(self, address: Address) -> int:
        """Return how often a key was used; 0 if that is not known."""
        known = self._known.get(_digest(address)) if self._known else None
        return 0 if known is None else known[1]


def encode(keys: Iterable[tuple[Address, int]]) -> Iterator[bytes]:
    """Yield each key's part of a snapshot."""
    for address, uses in keys:
        yield _KEY.pack(_digest(address), min(uses, _MOST_USES))


def worth_of(uses: int, cost_micros: int) -> int:
    """Return what keeping an entry saves: uses times cost; a cost of nothing counts as one micro."""
    return max(uses, 1) * max(cost_micros, 1)


def _digest(address: Address) -> int:
    # A batch's lookups come as tuples: an address is made of one only by who stores it.
    tenant, key = address
    name = f"{tenant}\0{key}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
