"""How many calls this machine bears: fewer while memory or CPU is short, more again once they are not. Pure.

Each second of pressure takes a part of the ceiling away; it comes back in small steps, and only after both
have been well below their marks for a while, so that it does not swing.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallel_processor.limits.cause import Cause

_CALM_BELOW = 0.1
"""So far below its mark a reading must be to count as calm."""
_CALM_FOR = 3
"""So many readings in a row must be calm before the ceiling rises."""
_CUT, _RISE = 0.7, 0.1
_LEAST = 0.1
"""The part of the ceiling that is always left, one call at least: work must end to free anything."""


@dataclass(frozen=True, slots=True)
class PressurePolicy:
    """When this machine is short of something.

    Attributes:
        memory_high: The part of memory in use above which the ceiling sinks.
        cpu_wait_high: The part of the time in which this process wants a CPU and gets none.
        memory_stall_high: The part of the time in which all of the container waits for memory.
    """

    memory_high: float = 0.9
    cpu_wait_high: float = 0.8
    memory_stall_high: float = 0.2


@dataclass(frozen=True, slots=True)
class PressureReading:
    """What was read of this machine.

    Attributes:
        memory: The part of memory in use, of this container where it is limited.
        cpu_wait: The part of the time in which this process wanted a CPU and got none.
        memory_stall: The part of the time in which all of the container waited for memory; 0 where the
            kernel does not say.
    """

    memory: float
    cpu_wait: float
    memory_stall: float = 0.0


class Pressure:
    """Turns readings into a ceiling. Its mutable state: the part that is left, and the calm so far."""

    def __init__(self, policy: PressurePolicy, most: int) -> None:
        self._policy = policy
        self._most = most
        self._part = 1.0
        self._calm = 0
        self._cause = Cause.MOST

    def read(self, now: PressureReading) -> tuple[int, Cause]:
        """Take in a reading; return how many calls there may be, and what keeps them from being more."""
        memory_over = max(
            now.memory - self._policy.memory_high, now.memory_stall - self._policy.memory_stall_high
        )
        cpu_over = now.cpu_wait - self._policy.cpu_wait_high
        if max(memory_over, cpu_over) > 0:
            self._part = max(_LEAST, self._part * _CUT)
            self._cause = Cause.MEMORY if memory_over >= 0 else Cause.CPU
            self._calm = 0
        elif max(memory_over, cpu_over) < -_CALM_BELOW:
            self._calm += 1
            if self._calm >= _CALM_FOR:
                self._part = min(1.0, self._part + _RISE)
        else:
            self._calm = 0
        if self._part == 1.0:
            return self._most, Cause.MOST
        return max(1, int(self._most * self._part)), self._cause
