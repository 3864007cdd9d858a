"""Sizes as people write them: bytes, with a unit, or as a part of all there is."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(%|[KMGT]iB|B|)")


def parse_capacity(text: str, *, footprint: int) -> int:
    """Return bytes.

    Args:
        text: E.g. 1000000, 512MiB or 5%.
        footprint: What 100 % is.

    Raises:
        ValueError: If it is not one of these, or less than a byte.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"capacity: expected bytes, 512MiB or 5%, got {text!r}")
    number = float(found[1])
    capacity = int(number * footprint / 100) if found[2] == "%" else int(number * _UNITS[found[2]])
    if capacity < 1:
        raise ValueError(f"capacity: {text} is less than a byte")
    return capacity
