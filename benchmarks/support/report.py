"""How a benchmark speaks: one line per figure, with its bar where it has one, and the machine's name."""

from __future__ import annotations

import os
import platform

_BUSY_LOAD = 0.5


class Report:
    """Prints figures as they come, and remembers whether a bar was missed.

    Args:
        judging: Whether bars count; without it they are not shown.
    """

    def __init__(self, *, judging: bool = True) -> None:
        self.short = False
        self._judging = judging

    def machine(self) -> None:
        """Name the machine, the cores in use, and how busy others keep them."""
        cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
        load = os.getloadavg()[0]
        print(f"MACHINE {platform.machine()}, {cores}, Python {platform.python_version()}, load {load:.1f}")
        if load > _BUSY_LOAD:
            self.remark("others keep this machine busy: rates are too low, their ratios a matter of luck")

    def figure(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Print one figure.

        Args:
            name: What was measured.
            value: How much.
            unit: Of what.
            at_least: Its bar.
            at_most: Its bar, if less is better.
        """
        bar = "-"
        if at_least is not None and self._judging:
            met = value >= at_least
            self.short |= not met
            bar = f">={at_least:g} {'ok' if met else 'short'}"
        if at_most is not None and self._judging:
            met = value <= at_most
            self.short |= not met
            bar = f"<={at_most:g} {'ok' if met else 'short'}"
        print(f"BENCH {name} {_short(value)} {unit} {bar}", flush=True)

    def remark(self, text: str) -> None:
        """Print a sentence that the figures need."""
        print(f"NOTE {text}", flush=True)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
