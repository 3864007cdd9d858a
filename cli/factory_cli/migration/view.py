"""How a migration looks: a bar for each service on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from factory_cli.migration.pace import Pace
from factory_cli.migration.worker import Position
from factory_cli.progress import figures

_LINE_EVERY_S = 3.0
_BAR_WIDTH = 40


class MigrationView:
    """Shows positions as they come; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._latest: dict[str, Position] = {}
        self._paces: dict[str, Pace] = {}
        self._printed_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, position: Position) -> None:
        """Show where a service is now."""
        now = time.monotonic()
        self._latest[position.service] = position
        pace = self._paces.setdefault(position.service, Pace())
        pace.see(position, now)
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif now - self._printed_at.get(position.service, float("-inf")) >= _LINE_EVERY_S:
            self._printed_at[position.service] = now
            text = f"{position.service} {position.phase} {line(position, pace)}"
            self._console.print(Text(text), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, each in self._latest.items():
            bar = ProgressBar(total=max(1, each.total), completed=each.documents, width=_BAR_WIDTH)
            style = "yellow" if each.waiting else ""
            table.add_row(
                Text(name, style="bold"), each.phase, bar, Text(line(each, self._paces[name]), style=style)
            )
        return table


def line(position: Position, pace: Pace) -> str:
    """Say in one line how far a service is, how fast, and for how long still."""
    if position.waiting:
        return f"{position.documents:,} documents · waiting: {position.waiting}"
    of = f"{position.documents:,}/{position.total:,}" if position.total else f"{position.documents:,}"
    parts = [f"{of} documents"]
    rate = pace.per_second
    if rate is not None:
        parts.append(f"{rate:,.0f}/s")
    left = pace.left_s(position.total)
    if left is not None:
        parts.append(f"{figures.duration(left)} to go")
    return " · ".join(parts)
