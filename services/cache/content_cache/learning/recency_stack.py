"""Keys in the order of their last use, with sizes: how many bytes were used since a key was, in O(log n).

Places in time are leaves of a Fenwick tree of bytes (Fenwick 1994). When places run out, keys are given new
ones in the same order: as rare as it is long, once per as many uses as keys fit.
"""

from __future__ import annotations

from itertools import accumulate

from content_cache.entry import Address


class RecencyStack:
    """A bounded number of keys.

    Args:
        max_keys: How many `put` may have put and not `drop` dropped; the caller minds it.
    """

    __slots__ = ("_next", "_places", "_sizes", "_total", "_tree")

    def __init__(self, max_keys: int) -> None:
        self._places: dict[Address, int] = {}
        self._sizes: dict[Address, int] = {}
        self._total = 0
        self._next = 1
        self._tree = [0] * (2 * max_keys + 2)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, address: Address) -> bool:
        return address in self._places

    def put(self, address: Address, size_bytes: int) -> None:
        """Make a key the most recent, known or not, with a new size."""
        if address in self._places:
            self.drop(address)
        if self._next == len(self._tree):
            self._renumber()
        self._places[address], self._sizes[address] = self._next, size_bytes
        self._add(self._next, size_bytes)
        self._total += size_bytes
        self._next += 1

    def resize(self, address: Address, size_bytes: int) -> None:
        """Give a known key another size where it is."""
        change = size_bytes - self._sizes[address]
        self._sizes[address] = size_bytes
        self._add(self._places[address], change)
        self._total += change

    def touch(self, address: Address) -> tuple[int, int]:
        """Make a known key the most recent; return the bytes of others used since it was, and its own."""
        if self._next == len(self._tree):
            self._renumber()
        size, place = self._sizes[address], self._places[address]
        if place == self._next - 1:
            return 0, size
        since = self._total - self._up_to(place)
        self._places[address] = self._next
        self._move(size, place, self._next)
        self._next += 1
        return since, size

    def drop(self, address: Address) -> None:
        """Forget a key, known or not."""
        place = self._places.pop(address, None)
        if place is not None:
            size = self._sizes.pop(address)
            self._add(place, -size)
            self._total -= size

    def _add(self, place: int, size_bytes: int) -> None:
        tree = self._tree
        while place < len(tree):
            tree[place] += size_bytes
            place += place & -place

    def _move(self, size_bytes: int, place: int, later: int) -> None:
        """Take bytes from a place to a later one: above where the two ways meet, sums stay what they are."""
        tree, end = self._tree, len(self._tree)
        while place != later:
            if place < later:
                if place >= end:
                    return
                tree[place] -= size_bytes
                place += place & -place
            elif later >= end:
                return
            else:
                tree[later] += size_bytes
                later += later & -later

    def _up_to(self, place: int) -> int:
        tree, total = self._tree, 0
        while place:
            total += tree[place]
            place &= place - 1
        return total

    def _renumber(self) -> None:
        ordered = sorted(self._places, key=self._places.__getitem__)
        self._places = {address: place for place, address in enumerate(ordered, start=1)}
        self._next = len(ordered) + 1
        free = len(self._tree) - self._next
        sums = [0, *accumulate([*(self._sizes[address] for address in ordered), *[0] * free])]
        self._tree = [0, *(sums[place] - sums[place & (place - 1)] for place in range(1, len(sums)))]
