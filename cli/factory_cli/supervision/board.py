"""How the local processes look while they start, run and stop: a table on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from factory_cli.supervision.supervisor import Change, Phase

_STYLES = {
    Phase.STARTING: "yellow",
    Phase.SERVING: "green",
    Phase.EXTERNAL: "green",
    Phase.RESTARTING: "yellow",
    Phase.FAILED: "red",
    Phase.STOPPING: "yellow",
    Phase.STOPPED: "dim",
}


class StatusBoard:
    """Shows each process's latest change; a context manager. A terminal is redrawn, others get lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._latest: dict[str, Change] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, change: Change) -> None:
        """Take note of a change."""
        self._latest[change.name] = change
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            self._console.print(_line(change), soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        for column in ("service", "state", "process", ""):
            table.add_column(column, header_style="dim")
        for change in self._latest.values():
            state = Text(change.phase.value, style=_STYLES[change.phase])
            table.add_row(change.name, state, str(change.pid or ""), Text(change.detail))
        return table


def _line(change: Change) -> Text:
    pid = f" (process {change.pid})" if change.pid else ""
    detail = f": {change.detail}" if change.detail else ""
    return Text(f"{change.name} {change.phase.value}{pid}{detail}")
