"""Watches this machine and lowers the ceiling of calls while it is short of memory or CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from service_common.clock import Clock

from parallel_processor.limits.cause import Cause
from parallel_processor.limits.cgroup import Cgroup
from parallel_processor.limits.pressure import Pressure, PressurePolicy, PressureReading

_log = structlog.get_logger("parallel_processor.limits.guard")
_EVERY_S = 1.0


class Guard:
    """Reads once a second. Its mutable state: the last reading of CPU, and the ceiling last set.

    Args:
        policy: When this machine is short of something.
        most: The ceiling while it is not.
        clock: Time.
        press: Sets the ceiling, and says why it is not higher.
        cgroup: What is read; this process's by default.
    """

    def __init__(
        self,
        policy: PressurePolicy,
        *,
        most: int,
        clock: Clock,
        press: Callable[[int, Cause], None],
        cgroup: Cgroup | None = None,
    ) -> None:
        self._pressure = Pressure(policy, most)
        self._clock = clock
        self._press = press
        self._cgroup = cgroup or Cgroup()
        self._waited_s = self._cgroup.cpu_wait_s() or 0.0
        self._read_at = clock.monotonic()
        self._ceiling = most

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()

    def look(self) -> None:
        """Read, and set the ceiling."""
        reading = self._read()
        ceiling, cause = self._pressure.read(reading)
        if ceiling != self._ceiling:
            _log.info(
                "ceiling_changed",
                calls=ceiling,
                cause=cause.value,
                memory=round(reading.memory, 2),
                cpu_wait=round(reading.cpu_wait, 2),
                memory_stall=round(reading.memory_stall, 2),
            )
            self._ceiling = ceiling
        self._press(ceiling, cause)

    def _read(self) -> PressureReading:
        now = self._clock.monotonic()
        waited_s = self._cgroup.cpu_wait_s() or 0.0
        elapsed_s = max(1e-3, now - self._read_at)
        cpu_wait = (waited_s - self._waited_s) / elapsed_s
        self._waited_s, self._read_at = waited_s, now
        return PressureReading(self._cgroup.memory().part, cpu_wait, self._cgroup.memory_stall())
