"""What was used, how recently and how often: of the keys used last, as many as bounded memory holds.

It outlives a restart as a snapshot: per key eight bytes of a digest and one of uses, in the order of the last
use. So a start knows what was in demand, though entries are stored once and never again.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from content_cache.entry import Address, Entry
from content_cache.record import micros

MOST_KEYS: Final = 32_768
"""Keys remembered: about nine megabytes, and a snapshot of 288 KiB."""

_MOST_USES: Final = 255
_KEY: Final = struct.Struct(">QB")


class Heat:
    """The keys used last, with their uses; older ones are forgotten.

    Args:
        most_keys: How many.
    """

    __slots__ = ("_most_keys", "_uses", "changes")

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self.changes = 0
        self._most_keys = most_keys
        self._uses: OrderedDict[Address, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def followed(self, recent: Sequence[Address], counts: Mapping[Address, int]) -> None:
        """Take note of lookups in their order, and how often each key is among them."""
        self.changes += 1
        uses = self._uses
        for address in reversed(dict.fromkeys(reversed(recent))):
            uses[address] = uses.get(address, 0) + counts[address]
            uses.move_to_end(address)
        self._trim()

    def remember(self, address: Address, uses: int) -> None:
        """Take note of what was known before a restart; the most recent last."""
        if uses:
            self._uses[address] = uses
            self._trim()

    def uses(self, address: Address) -> int:
        """Return how often a key was used as far as remembered; 0 if it is not."""
        return self._uses.get(address, 0)

    def order(self) -> list[tuple[Address, int]]:
        """Return the keys and their uses, the one used last at the end."""
        return list(self._uses.items())

    def _trim(self) -> None:
        while len(self._uses) > self._most_keys:
            self._uses.popitem(last=False)


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
    name = f"{address.tenant}\0{address.key}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
