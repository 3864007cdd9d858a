"""A dictionary by address in parts, so that none is ever rebuilt for long.

A dictionary of a million keys is rebuilt when its slots run out, also when as many leave as come: for 60 to
110 ms in which nothing else runs. A part of it takes a millisecond.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from content_cache.entry import Address
from content_cache.sampling import PARTS

ValueT = TypeVar("ValueT")


class Table(Generic[ValueT]):
    """What a dictionary does, as far as it is needed here.

    Attributes:
        parts: The dictionaries; an address is in the one its hash modulo `PARTS` says. What every hit
            takes may look there itself and save a call.
    """

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: tuple[dict[Address, ValueT], ...] = tuple({} for _ in range(PARTS))

    def __getitem__(self, address: Address) -> ValueT:
        return self.parts[hash(address) % PARTS][address]

    def __setitem__(self, address: Address, value: ValueT) -> None:
        self.parts[hash(address) % PARTS][address] = value

    def pop(self, address: Address) -> ValueT:
        """Remove what is under an address and return it.

        Raises:
            KeyError: If nothing is.
        """
        return self.parts[hash(address) % PARTS].pop(address)
