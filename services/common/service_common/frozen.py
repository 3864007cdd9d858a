"""Dataclasses that the type checker holds to be frozen, at the price of plain ones.

`dataclasses` enforces `frozen` again in every construction: each field of each value takes a call of
`object.__setattr__` then, three times the cost of an assignment. mypy runs on every commit and finds every
assignment that would be refused. So values made by the thousand import `dataclass` from here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - re-exported, so that mypy knows it
else:

    def dataclass(*, frozen: bool = False, slots: bool = False) -> Any:
        """Return `dataclasses.dataclass` for values: equal and hashed by their fields."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen)
