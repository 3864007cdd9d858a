"""Which keys are followed by those who learn from a sample of keys: always those of the lowest places.

A key's place is made of its hash, as in Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST
2015. Its highest bits say in which part of the table the key's entry is: whoever looks an entry up knows
whether its key is followed without another step.
"""

from __future__ import annotations

from typing import Final

from content_cache.entry import Address

PARTS: Final = 64
"""Parts of a table of entries, and the grain in which samples are cut."""

PLACES: Final = 1 << 24

_PART_BITS: Final = PARTS.bit_length() - 1
_REST_BITS: Final = PLACES.bit_length() - 1 - _PART_BITS


def place_of(address: Address) -> int:
    """Return a key's place, below `PLACES`; the same for all tenants."""
    number = hash(address[1])
    return (number % PARTS) << _REST_BITS | (number >> _PART_BITS) % (1 << _REST_BITS)


def is_among(address: Address, parts: int) -> bool:
    """Tell whether a key's place is in the first of all `PARTS`: below `parts / PARTS` of all places."""
    return hash(address[1]) % PARTS < parts
