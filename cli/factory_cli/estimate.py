"""What a job will cost and take, as a person reads it, and the question whether to spend it."""

from __future__ import annotations

import sys
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from service_common.rpc.client import ClientPool

from factory_cli.calls import call_patiently
from factory_cli.console import messages
from factory_cli.progress import figures

_TIMEOUT_S = 120.0


async def estimate_job(processor: ClientPool[Any], job_id: str) -> pb.JobEstimate:
    """Ask what a draft will cost.

    Raises:
        CommandError: As the processor answered.
    """
    request = pb.EstimateJobRequest(job_id=job_id)
    answer: pb.EstimateJobResponse = await call_patiently(
        processor, lambda stub: stub.EstimateJob, request, timeout_s=_TIMEOUT_S
    )
    return answer.estimate


def agreed(found: pb.JobEstimate) -> bool:
    """Show an estimate and ask whether to go on; where nobody is there to answer, it goes on."""
    console = messages()
    console.print(render(found))
    if not (sys.stdin.isatty() and console.is_terminal):
        return True
    return console.input("start it? [y/N] ").strip().lower() in ("y", "yes")


def render(found: pb.JobEstimate) -> RenderableType:
    """Draw an estimate: by content type, then cost, duration and what they rest on."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("content type", no_wrap=True)
    for column in ("items", "calls", "expected cost"):
        table.add_column(column, justify="right")
    for each in found.content_types:
        table.add_row(
            each.content_type,
            f"{each.item_count:,}",
            f"{each.model_calls:,}",
            figures.money(each.expected_cost_micros),
        )
    return Group(table, Text(""), *(Text(each) for each in _facts(found)))


def _facts(found: pb.JobEstimate) -> list[str]:
    cost = found.cost
    usual = f"{figures.money(cost.low_micros)} to {figures.money(cost.high_micros)}"
    most = f"nine times out of ten; at the very most {figures.money(found.worst_case_micros)}"
    facts = [f"cost: {usual}, about {figures.money(cost.expected_micros)} ({most})"]
    if found.HasField("duration"):
        low, high = found.duration.low.ToTimedelta(), found.duration.high.ToTimedelta()
        facts.append(f"duration: {figures.duration(low)} to {figures.duration(high)} on this processor alone")
    facts.append(f"{found.model_calls:,} model calls for {found.item_count:,} items" + _without_call(found))
    if not found.measured_calls:
        facts.append("no such call was ever measured: this is a guess from the largest outputs allowed")
    else:
        facts.append(f"output lengths from {found.measured_calls:,} earlier calls")
    if found.refused_items:
        facts.append(f"{found.refused_items:,} items will fail: no prompt can be made for them")
    if found.sampled_items < found.item_count:
        facts.append(f"{found.sampled_items:,} items were looked at, from all over the job")
    if found.cache_unknown:
        facts.append("the cache could not be asked; nothing was taken to be there")
    return facts


def _without_call(found: pb.JobEstimate) -> str:
    parts = [
        f"{count:,} {what}"
        for count, what in ((found.cached_items, "cached"), (found.equal_items, "equal to another"))
        if count
    ]
    return f" ({', '.join(parts)})" if parts else ""


def as_json(found: pb.JobEstimate) -> dict[str, object]:
    """Return an estimate for scripts."""
    seconds = None
    if found.HasField("duration"):
        ends = found.duration.low, found.duration.expected, found.duration.high
        names = ("low_s", "expected_s", "high_s")
        seconds = {name: each.ToTimedelta().total_seconds() for name, each in zip(names, ends, strict=True)}
    return {
        "items": found.item_count,
        "sampled_items": found.sampled_items,
        "cached_items": found.cached_items,
        "equal_items": found.equal_items,
        "refused_items": found.refused_items,
        "model_calls": found.model_calls,
        "cost": {
            "low_micros": found.cost.low_micros,
            "expected_micros": found.cost.expected_micros,
            "high_micros": found.cost.high_micros,
        },
        "worst_case_micros": found.worst_case_micros,
        "duration": seconds,
        "measured_calls": found.measured_calls,
        "cache_unknown": found.cache_unknown,
        "content_types": {
            each.content_type: {
                "items": each.item_count,
                "model_calls": each.model_calls,
                "expected_cost_micros": each.expected_cost_micros,
            }
            for each in found.content_types
        },
    }
