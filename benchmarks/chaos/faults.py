"""Which process is struck when, how, and for how long: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

FIRST_AT, LAST_AT = 0.03, 0.9
"""Between which shares of the work the faults fall: none strikes when nothing is left to disturb."""


class How(Enum):
    """What happens to a process."""

    KILL = "SIGKILL"
    STALL = "SIGSTOP"


@dataclass(frozen=True, slots=True)
class Fault:
    """One blow.

    Attributes:
        at: The share of the job's work after which it falls.
        how: What happens.
        target: To which process.
        away_s: After how many seconds a killed process is started again, or a stalled one goes on.
    """

    at: float
    how: How
    target: str
    away_s: float

    def __str__(self) -> str:
        return f"{self.how.value} of {self.target} at {self.at:.0%}, back after {self.away_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Mix:
    """What a schedule is made of.

    Attributes:
        processors: Those that are killed and stalled.
        kills: How often each neighbour is killed.
        stalls: How many stalls of processors, each longer than a lease.
        processor_kills: How many kills of processors.
        neighbour_stalls: How many stalls of neighbours.
        lease_s: How long a lease lasts.
        stall_s: How long a stall lasts at least; longer than a lease, so that others take over.
    """

    processors: Sequence[str]
    kills: Mapping[str, int]
    stalls: int
    processor_kills: int
    neighbour_stalls: int
    lease_s: float
    stall_s: float

    @property
    def count(self) -> int:
        """How many faults that are."""
        return sum(self.kills.values()) + self.stalls + self.processor_kills + self.neighbour_stalls


def schedule(mix: Mix, seed: int) -> list[Fault]:
    """Return the faults in the order in which they fall."""
    dice = Random(seed)
    blows = [(How.KILL, name) for name, times in mix.kills.items() for _ in range(times)]
    blows += [(How.KILL, dice.choice(mix.processors)) for _ in range(mix.processor_kills)]
    blows += [(How.STALL, dice.choice(mix.processors)) for _ in range(mix.stalls)]
    blows += [(How.STALL, dice.choice(sorted(mix.kills))) for _ in range(mix.neighbour_stalls)]
    dice.shuffle(blows)
    moments = sorted(dice.uniform(FIRST_AT, LAST_AT) for _ in blows)
    return [
        Fault(at, how, target, _away_s(how, mix, dice))
        for at, (how, target) in zip(moments, blows, strict=True)
    ]


def _away_s(how: How, mix: Mix, dice: Random) -> float:
    """Return how long it takes; a killed process may be back before its leases are over, or after."""
    if how is How.STALL:
        return mix.stall_s + dice.uniform(0.0, 1.5)
    return dice.uniform(0.1, 1.5 * mix.lease_s)
