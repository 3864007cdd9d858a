"""One call's reports: grouped by job, recorded side by side, answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from service_common.errors import ErrorKind, ServiceError

from progress_tracker.ledger import Outcome
from progress_tracker.report import Report


class Recorder(Protocol):
    """Makes reports about one job durable."""

    async def record(self, tenant: str, job_id: str, reports: Sequence[Report]) -> list[Outcome]:
        """Return one answer per report; raises if nothing is known to be durable."""
        ...


JobReport = tuple[str, Report]
"""A job id and a report about it."""


async def record_all(
    recorder: Recorder, tenant: str, reports: Sequence[JobReport | ServiceError]
) -> list[Outcome]:
    """Record reports of any jobs.

    Args:
        recorder: Makes them durable.
        tenant: Whose jobs.
        reports: The reports; an error in place of one that cannot be read.

    Returns:
        One answer per report, in order.

    Raises:
        ServiceError: If every readable report failed because the store is out of reach.
    """
    by_job: dict[str, list[int]] = {}
    outcomes: list[Outcome | None] = [each if isinstance(each, ServiceError) else None for each in reports]
    for index, each in enumerate(reports):
        if not isinstance(each, ServiceError):
            by_job.setdefault(each[0], []).append(index)
    answers = await asyncio.gather(
        *(_record_job(recorder, tenant, job_id, _pick(reports, places)) for job_id, places in by_job.items())
    )
    for places, answer in zip(by_job.values(), answers, strict=True):
        for place, outcome in zip(places, answer, strict=True):
            outcomes[place] = outcome
    _raise_if_unavailable([outcome for answer in answers for outcome in answer])
    return [each for each in outcomes if each is not None]


def _pick(reports: Sequence[JobReport | ServiceError], places: Sequence[int]) -> list[Report]:
    return [each[1] for place in places if not isinstance(each := reports[place], ServiceError)]


async def _record_job(
    recorder: Recorder, tenant: str, job_id: str, reports: Sequence[Report]
) -> list[Outcome]:
    try:
        return await recorder.record(tenant, job_id, reports)
    except ServiceError as error:
        return [error] * len(reports)


def _raise_if_unavailable(outcomes: Sequence[Outcome]) -> None:
    """Fail the whole call when nothing of it went through, so that a caller's breaker takes note."""
    first = outcomes[0] if outcomes else None
    if isinstance(first, ServiceError) and all(
        isinstance(each, ServiceError) and each.kind is ErrorKind.UNAVAILABLE for each in outcomes
    ):
        raise first
