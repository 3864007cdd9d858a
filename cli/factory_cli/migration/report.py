"""What a migration would do and what it has done: as tables for people, as one JSON object for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from factory_cli.migration.worker import Answer
from factory_cli.progress import figures

WRITE_MICROS, READ_MICROS = 0.9, 0.3
"""A document's write and read in Firestore, in millionths of a US dollar: US region, as in iac/README."""

_COURSES = {
    "begin": "nothing of it is in the target yet",
    "resume": "goes on behind {copied:,} documents",
    "again": "source or target were changed since the last run: copies everything anew, and removes from the "
    "target what the source does not have",
    "check": "was copied before; compares both and writes nothing",
}
_MIB = 1024 * 1024


def plan_table(plans: Sequence[Answer]) -> Table:
    """Draw what there is to copy."""
    table = _table("service", "collection", "documents", "MiB", "expired, left behind")
    for plan in plans:
        for name, each in plan.fields["collections"].items():
            size = f"{each['bytes'] / _MIB:,.1f}"
            table.add_row(
                plan.service,
                name,
                f"{each['documents']:,}",
                size,
                f"{each['expired']:,}" if each["expired"] else "",
            )
    documents, expired = _sum(plans, "documents"), _sum(plans, "expired")
    total = f"{_sum(plans, 'bytes') / _MIB:,.1f}"
    table.add_row("all", "", f"{documents:,}", total, f"{expired:,}", style="bold")
    return table


def courses(plans: Sequence[Answer]) -> list[str]:
    """Say of each service how it would go on."""
    return [f"{each.service}: {_COURSES[each.fields['course']].format_map(each.fields)}" for each in plans]


def costs(plans: Sequence[Answer], *, reads_from: bool, writes_to: bool) -> dict[str, int]:
    """Return what Firestore bills for copying and comparing: operations, and about how many micro-dollars.

    Args:
        plans: What there is to copy.
        reads_from: Whether the source is Firestore: it is counted, copied and compared.
        writes_to: Whether the target is: it is written and compared.
    """
    reads = writes = 0
    for plan in plans:
        documents = _sum([plan], "documents")
        to_copy = 0 if plan.fields["course"] == "check" else max(0, documents - plan.fields["copied"])
        writes += to_copy if writes_to else 0
        reads += documents if writes_to else 0
        reads += 2 * documents + to_copy if reads_from else 0
    micros = round(writes * WRITE_MICROS + reads * READ_MICROS)
    return {"writes": writes, "reads": reads, "cost_micros": micros}


def cost_line(cost: Mapping[str, int]) -> str:
    """Say what Firestore will bill."""
    return (
        f"Firestore: about {cost['writes']:,} writes and {cost['reads']:,} reads, "
        f"{figures.money(cost['cost_micros'])} at the US region's list price"
    )


def outcome_table(outcomes: Sequence[Answer]) -> Table:
    """Draw what both sides hold."""
    table = _table("service", "collection", "documents", "in the target", "checksum", "")
    for outcome in outcomes:
        for name, each in outcome.fields["collections"].items():
            source, target = each["source"], each["target"]
            differs = name in outcome.fields["differing"]
            verdict = Text("differs", style="bold red") if differs else Text("equal", style="green")
            counts = (f"{source['documents']:,}", f"{target['documents']:,}")
            table.add_row(outcome.service, name, *counts, source["checksum"][:12], verdict)
    return table


def differences(outcomes: Sequence[Answer]) -> list[str]:
    """Say of every collection that is not the same what to do."""
    return [
        f"{each.service}: {', '.join(each.fields['differing'])}: not the same; "
        + (
            "the target has been used since it was copied"
            if each.fields["course"] == "check"
            else "stop what writes to source or target and run the same again: it copies everything anew, "
            "and removes from the target what the source does not have"
        )
        for each in outcomes
        if each.fields["differing"]
    ]


def as_json(
    answers: Sequence[Answer], *, source: str, target: str, copied: bool, cost: Mapping[str, int]
) -> dict[str, Any]:
    """Return all of it as JSON."""
    return {
        "from": source,
        "to": target,
        "copied": copied,
        "equal": copied and not any(each.fields["differing"] for each in answers),
        "estimate": dict(cost),
        "services": {each.service: dict(each.fields) for each in answers},
    }


def _sum(plans: Sequence[Answer], of: str) -> int:
    return sum(each[of] for plan in plans for each in plan.fields["collections"].values())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for each in columns:
        number = each in ("documents", "MiB", "in the target", "expired, left behind")
        table.add_column(each, justify="right" if number else "left")
    return table
