"""How long an outgoing call may take: its own limit, or what the caller is still willing to wait for."""

from __future__ import annotations

MARGIN_S = 0.005
"""Kept back from the caller's time, so that an answer made of this failure still reaches it."""


def outgoing_timeout_s(wanted_s: float, *, deadline: float | None, now: float) -> float:
    """Return the seconds an outgoing call may take; 0 or less when it is pointless to start.

    Args:
        wanted_s: The call's own limit.
        deadline: Monotonic seconds at which the caller stops waiting; None when it never does.
        now: Monotonic seconds.
    """
    if deadline is None:
        return wanted_s
    return min(wanted_s, deadline - MARGIN_S - now)
