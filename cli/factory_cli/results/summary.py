"""The end of a job: a table for people, one JSON object for scripts, and the exit code."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from factory_cli import exit_codes
from factory_cli.progress import figures
from factory_cli.progress.snapshot import JobSnapshot
from factory_cli.results.tally import Tally, TypeTally

_COLUMNS = ("content type", "done", "failed", "cached", "tokens in", "tokens out", "quality", "cost")
_SHOWN_LOSSES = 10


def exit_code(job: JobSnapshot) -> int:
    """Return what the command ends with: 0 only when every item has content."""
    return exit_codes.OK if job.state == "SUCCEEDED" else exit_codes.ITEMS_FAILED


def render(job: JobSnapshot, tally: Tally, *, files: int, out: Path) -> RenderableType:
    """Draw the summary."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(_COLUMNS[0], no_wrap=True)
    for column in _COLUMNS[1:]:
        table.add_column(column, justify="right")
    for name, each in tally.types.items():
        table.add_row(name, *_cells(each))
    table.add_section()
    table.add_row("all", *_cells(tally.total), style="bold")
    losses = [
        Text(f"{each.item_id}: {each.state.lower()}, {each.message} [{each.reason}]", style="red")
        for each in tally.losses[:_SHOWN_LOSSES]
    ]
    return Group(table, *losses, *(Text(each) for each in _facts(job, files, out)))


def _cells(each: TypeTally) -> tuple[str, ...]:
    return (
        f"{each.done:,}",
        f"{each.failed:,}",
        f"{each.cached:,}",
        f"{each.prompt_tokens:,}",
        f"{each.output_tokens:,}",
        figures.quality(each.mean_quality),
        figures.money(each.cost_micros),
    )


def _facts(job: JobSnapshot, files: int, out: Path) -> list[str]:
    calls = (
        f"{job.model_calls:,} model calls, {job.prompt_tokens:,} prompt + {job.output_tokens:,} output tokens"
    )
    lines = [
        "",
        f"job {job.job_id}: {job.state.lower().replace('_', ' ')}",
        f"job duration: {figures.duration(job.duration)}",
        f"model: {calls}, {figures.money(job.cost_micros)}",
        f"files: {files:,} in {out}",
    ]
    if job.uncertain_micros:
        lines.insert(
            4, f"calls of unknown fate may have cost up to {figures.money(job.uncertain_micros)} more"
        )
    return lines


def as_json(job: JobSnapshot, tally: Tally, *, files: int, out: Path) -> dict[str, object]:
    """Return the summary for scripts."""
    return {
        "job_id": job.job_id,
        "state": job.state,
        "job_duration_s": job.duration.total_seconds() if job.duration else None,
        "items": {
            "total": job.total,
            "succeeded": job.succeeded,
            "failed": job.failed,
            "skipped": job.skipped,
            "cancelled": job.cancelled,
            "cached": job.cached,
        },
        "model_calls": job.model_calls,
        "prompt_tokens": job.prompt_tokens,
        "output_tokens": job.output_tokens,
        "cost_micros": job.cost_micros,
        "uncertain_spend_micros": job.uncertain_micros,
        "content_types": {name: _type_json(each) for name, each in tally.types.items()},
        "losses": [
            {"item_id": each.item_id, "state": each.state, "reason": each.reason, "message": each.message}
            for each in tally.losses
        ],
        "files": files,
        "out": str(out),
    }


def _type_json(each: TypeTally) -> dict[str, object]:
    return {
        "done": each.done,
        "failed": each.failed,
        "cached": each.cached,
        "prompt_tokens": each.prompt_tokens,
        "output_tokens": each.output_tokens,
        "cost_micros": each.cost_micros,
        "mean_quality": each.mean_quality,
    }
