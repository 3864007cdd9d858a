"""When a process that died is started again: soon at first, then less and less often."""

from __future__ import annotations

from dataclasses import dataclass, replace

_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 15.0
_STABLE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a process died in a row.

    Attributes:
        deaths: Deaths since it last ran for a while.
    """

    deaths: int = 0

    def after_death(self, *, ran_for_s: float) -> Restarts:
        """Count a death; a process that ran for a while starts with a clean record."""
        return replace(self, deaths=1 if ran_for_s >= _STABLE_AFTER_S else self.deaths + 1)

    @property
    def delay_s(self) -> float:
        """How long to wait before the next start."""
        if self.deaths == 0:
            return 0.0
        doubled = _FIRST_DELAY_S * 2.0 ** min(self.deaths - 1, 10)
        return min(_MAX_DELAY_S, doubled)
