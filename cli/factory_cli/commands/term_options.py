"""The terms of a job as options: what it may cost, by when, its share, and when to give up."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli.failures import CommandError

Weight = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Its share among jobs of its priority; 100 is usual.")
]
MaxCost = Annotated[
    str | None,
    typer.Option(help="The most its model calls may cost, in US dollars (2.50), or none."),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        help="When the rest is given up: 90m, 2h, 3d from now, a time such as 2026-05-01T18:00, or none."
    ),
]
MaxFailed = Annotated[
    str | None, typer.Option(help="How many items may fail before the rest is given up: 5%, 0%, or none.")
]
Fallback = Annotated[
    list[str] | None, typer.Option("--fallback", help="A model to ask instead; may be repeated, in order.")
]

_NONE = "none"
_MICROS = 1_000_000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def job_terms(
    *,
    weight: int | None,
    max_cost: str | None,
    deadline: str | None,
    max_failed: str | None,
    fallback: list[str] | None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[pb.JobTerms, list[str]]:
    """Say the options in the contract's terms.

    Returns:
        The terms, and the paths of those that were given; one that is given as `none` is not set.

    Raises:
        CommandError: If one cannot be read.
    """
    terms, paths = pb.JobTerms(), []
    if weight is not None:
        terms.weight = weight
        paths.append("terms.weight")
    if max_cost is not None:
        if max_cost != _NONE:
            terms.max_cost_micros = _micros(max_cost)
        paths.append("terms.max_cost_micros")
    if deadline is not None:
        if deadline != _NONE:
            terms.deadline.FromDatetime(_moment(deadline, now()))
        paths.append("terms.deadline")
    if max_failed is not None:
        if max_failed != _NONE:
            terms.max_failed_ratio = _ratio(max_failed)
        paths.append("terms.max_failed_ratio")
    if fallback:
        terms.fallback_models.extend(each for each in fallback if each != _NONE)
        paths.append("terms.fallback_models")
    return terms, paths


def _micros(text: str) -> int:
    try:
        micros = round(float(text.removeprefix("$")) * _MICROS)
    except (ValueError, OverflowError):
        micros = -1
    if micros < 0:
        raise CommandError(f"--max-cost takes US dollars such as 2.50, or none, not {text!r}")
    return micros


def _moment(text: str, now: datetime) -> datetime:
    if span := _SPAN.fullmatch(text):
        return now + timedelta(**{_UNITS[span[2]]: float(span[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"--deadline takes 90m, 2h, 3d, a time such as 2026-05-01T18:00, or none, not {text!r}"
        ) from error


def _ratio(text: str) -> float:
    try:
        ratio = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise CommandError(f"--max-failed takes a share such as 5% or 0.05, or none, not {text!r}")
    return ratio
