"""How figures look: money, durations, rates and tokens, short and unmistakable."""

from __future__ import annotations

from datetime import timedelta

_MICROS = 1_000_000
_CENT_MICROS = 10_000
_MINUTE_S = 60
_HOUR_S = 3600
_PRECISE_BELOW_S = 10


def money(micros: int) -> str:
    """Return US dollars, with as many digits as small sums need."""
    if micros == 0:
        return "$0"
    return f"${micros / _MICROS:,.2f}" if abs(micros) >= _CENT_MICROS else f"${micros / _MICROS:.6f}"


def duration(value: timedelta | float | None) -> str:
    """Return a time span: 0.42 s, 12.3 s, 3 min 05 s, 2 h 10 min; a dash when not known."""
    if value is None:
        return "-"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < _PRECISE_BELOW_S:
        return f"{seconds:.2f} s"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < _HOUR_S:
        return f"{int(seconds) // _MINUTE_S} min {int(seconds) % _MINUTE_S:02d} s"
    return f"{int(seconds) // _HOUR_S} h {int(seconds) % _HOUR_S // _MINUTE_S:02d} min"


def rate(per_second: float | None) -> str:
    """Return items per second; a dash when not known."""
    return "-" if per_second is None else f"{per_second:,.2f} items/s"


def quality(value: float | None) -> str:
    """Return a score; a dash when there is none."""
    return "-" if value is None else f"{value:.2f}"
