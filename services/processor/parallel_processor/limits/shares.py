"""Sharing a ceiling by max-min fairness: nobody gets more than wanted, and the greedy get what is left."""

from __future__ import annotations

from collections.abc import Sequence


def fair_share(ceiling: int, wants: Sequence[int]) -> float:
    """Return the share that whoever wants more than it gets.

    Args:
        ceiling: What there is.
        wants: What each wants.

    Returns:
        Infinity when there is enough for all.
    """
    left, shares = float(ceiling), len(wants)
    for want in sorted(wants):
        if want * shares >= left:
            return left / shares
        left -= want
        shares -= 1
    return float("inf")
