"""How a job's progress looks: drawn live on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from factory_cli.progress import figures
from factory_cli.progress.snapshot import JobSnapshot

_LINE_EVERY_S = 3.0
_BAR_WIDTH = 40


class ProgressView:
    """Shows snapshots as they come; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._printed_at = float("-inf")
        self._printed = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: JobSnapshot) -> None:
        """Show where the job is now."""
        if self._live:
            self._live.update(render(snapshot), refresh=True)
            return
        now = time.monotonic()
        text = line(snapshot)
        if snapshot.is_final or now - self._printed_at >= _LINE_EVERY_S:
            if text != self._printed:
                self._console.print(Text(text), soft_wrap=True)
            self._printed, self._printed_at = text, now


def line(snapshot: JobSnapshot) -> str:
    """Say in one line where a job is."""
    parts = [
        f"{snapshot.state.lower().replace('_', ' ')} {snapshot.finished}/{snapshot.total}",
        *_troubles(snapshot),
        f"{snapshot.cached} cached",
        f"{snapshot.prompt_tokens:,} + {snapshot.output_tokens:,} tokens",
        spending(snapshot),
    ]
    if snapshot.items_per_second is not None and not snapshot.is_final:
        parts.append(figures.rate(snapshot.items_per_second))
    if snapshot.eta_s is not None and not snapshot.is_final:
        parts.append(f"{figures.duration(snapshot.eta_s)} to go")
    if snapshot.state == "PAUSED":
        parts.append(why(snapshot))
    return " · ".join(parts)


def why(snapshot: JobSnapshot) -> str:
    """Say why a job is in its state, and by which command it leaves it."""
    is_told = "factory " in snapshot.message  # a budget is to be raised; resuming alone would not help
    helps = f"factory resume {snapshot.job_id}" if snapshot.state == "PAUSED" and not is_told else ""
    return "; ".join(each for each in (snapshot.message, helps) if each)


def spending(snapshot: JobSnapshot) -> str:
    """Say what a job has cost: against its cap, with what is uncertain or set aside, where there is such."""
    text = figures.money(snapshot.cost_micros)
    more = [
        f"{figures.money(micros)} {what}"
        for micros, what in ((snapshot.uncertain_micros, "uncertain"), (snapshot.reserved_micros, "reserved"))
        if micros
    ]
    if more:
        text += f" + {' + '.join(more)}"
    return text if snapshot.cap_micros is None else f"{text} of {figures.money(snapshot.cap_micros)}"


def _troubles(snapshot: JobSnapshot) -> list[str]:
    named = (("failed", snapshot.failed), ("skipped", snapshot.skipped), ("cancelled", snapshot.cancelled))
    return [f"{count} {name}" for name, count in named if count]


def render(snapshot: JobSnapshot) -> RenderableType:
    """Draw a job: overall bar and figures, then content types and stages where they are known."""
    parts: list[RenderableType] = [_overall(snapshot)]
    if snapshot.types:
        parts.append(_types(snapshot))
    if snapshot.stages:
        stages = (f"{each.stage} {figures.duration(each.mean_s)}" for each in snapshot.stages)
        parts.append(Text("per item: " + " · ".join(stages), style="dim"))
    if snapshot.source == "processor" and not snapshot.is_final:
        parts.append(Text("the tracker is away; totals from the processor", style="dim"))
    return Group(*parts)


def _overall(snapshot: JobSnapshot) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, snapshot.total), completed=snapshot.finished, width=_BAR_WIDTH)
    style = "red" if snapshot.failed else "green" if snapshot.is_final else "bold"
    table.add_row(
        Text(snapshot.name or snapshot.job_id, style="bold"), bar, Text(line(snapshot), style=style)
    )
    return table


def _types(snapshot: JobSnapshot) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for each in snapshot.types:
        bar = ProgressBar(total=max(1, each.total), completed=each.finished, width=_BAR_WIDTH // 2)
        lost = each.finished - each.succeeded
        note = Text(f"{lost} without content", style="red") if lost else Text("")
        table.add_row(Text(f"  {each.content_type}"), bar, f"{each.finished}/{each.total}", note)
    return table
