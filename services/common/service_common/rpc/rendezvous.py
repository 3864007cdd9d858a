"""Rendezvous hashing: all clients give a key to the same target; a change of targets moves the fewest."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def choose_target(key: bytes, targets: Sequence[str]) -> str:
    """Return the target a key belongs to, whatever the order of the targets.

    Args:
        key: What decides.
        targets: The candidates; not empty.
    """
    if len(targets) == 1:
        return targets[0]
    return max(targets, key=lambda target: (_weight(key, target), target))


def _weight(key: bytes, target: str) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    return blake2b(len(key).to_bytes(8, "big") + key + target.encode(), digest_size=8).digest()
