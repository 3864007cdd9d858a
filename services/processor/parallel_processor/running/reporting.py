"""Progress goes to the tracker in absolute terms: while it is away reports conflate, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import structlog
from service_common.errors import ServiceError
from service_common.telemetry.tracing import span

from parallel_processor.jobs.item import ItemCounts, Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Shard
from parallel_processor.queueing.standing import Standing
from parallel_processor.running.outages import Backoff, is_outage
from parallel_processor.running.ports import Owner

_log = structlog.get_logger("parallel_processor.running.reporting")
JOB_PRODUCER = "job"
QUEUE_PRODUCER = "queue"
_MAX_REPORTS_AT_ONCE = 500
_GATHER_S = 0.05
"""How long reports gather after all there were have gone out; the first of all goes at once."""

_MAX_ITEMS_AT_ONCE = 1_000
_MAX_ITEMS_PENDING = 100_000
_MAX_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a producer has to say: the latest state of everything it ever said.

    Attributes:
        owner: Whose job it is.
        job_id: The job.
        producer: The part of the job that reports.
        sequence: Numbers the producer's reports.
        time: When it happened.
        job: The job as a whole, if that is what changed.
        counts: All items of the producer by state.
        usage: What they took.
        outcomes: Items that finished since the last report, by id.
        traceparent: The job's trace.
        queue: Where the job stands in the queue, if that is news.
    """

    owner: Owner
    job_id: str
    producer: str
    sequence: int
    time: datetime
    job: Job | None = None
    counts: ItemCounts | None = None
    usage: Usage = field(default_factory=Usage)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    traceparent: str | None = None
    queue: Standing | None = None


def job_report(job: Job, now: datetime) -> Report:
    """Return the report of a job's change of state."""
    owner = Owner(job.tenant, job.user)
    return Report(owner, job.job_id, JOB_PRODUCER, job.revision, now, job=job, traceparent=job.traceparent)


def queue_report(job: Job, standing: Standing, now: datetime) -> Report:
    """Return the report of where a job stands in the queue; the later of two has the higher number."""
    owner, number = Owner(job.tenant, job.user), int(now.timestamp() * 1_000)
    return Report(owner, job.job_id, QUEUE_PRODUCER, number, now, traceparent=job.traceparent, queue=standing)


def shard_report(
    job: Job, shard: Shard, outcomes: Sequence[Outcome], now: datetime, *, queue: Standing | None = None
) -> Report:
    """Return the report of a shard's commit."""
    return Report(
        Owner(job.tenant, job.user),
        shard.job_id,
        shard_producer(shard.number),
        shard.commits,
        now,
        counts=shard.counts,
        usage=shard.usage,
        outcomes={each.item_id: each for each in outcomes},
        traceparent=job.traceparent,
        queue=queue,
    )


def shard_producer(number: int) -> str:
    """Return the name under which a shard reports."""
    return f"shard-{number}"


def _without_content(outcome: Outcome) -> Outcome:
    return replace(outcome, piece=replace(outcome.piece, content="")) if outcome.piece else outcome


def merged(earlier: Report, later: Report) -> Report:
    """Return one report that says what two of the same producer say; the higher sequence is the later one."""
    if earlier.sequence > later.sequence:
        earlier, later = later, earlier
    return replace(
        later,
        job=later.job or earlier.job,
        outcomes={**earlier.outcomes, **later.outcomes},
        queue=later.queue or earlier.queue,
    )


class TrackerPort(Protocol):
    """The progress tracker."""

    async def report(self, owner: Owner, reports: Sequence[Report]) -> list[bool]:
        """Send reports; returns, in order, which of them are durable. Raises ServiceError when it is away."""
        ...


class Reporter:
    """Sends reports, the latest state of each producer, in the order in which the producers first spoke.

    Its mutable state: the pending reports by producer, and the highest sequence acknowledged of each.

    Attributes:
        dropped: Item updates given up because too many were pending; the store still marks them unreported.
    """

    def __init__(self, tracker: TrackerPort, *, rng: random.Random) -> None:
        self._tracker = tracker
        self._rng = rng
        self._pending: OrderedDict[tuple[str, str], Report] = OrderedDict()
        self._pending_items = 0
        self._acknowledged: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.dropped = 0

    def submit(self, report: Report) -> None:
        """Send a report soon."""
        where = report.job_id, report.producer
        earlier = self._pending.get(where)
        if earlier is not None:
            self._pending_items -= len(earlier.outcomes)
            report = merged(earlier, report)
        self._pending[where] = report
        self._pending_items += len(report.outcomes)
        self._shed()
        self._idle.clear()
        self._wake.set()

    def is_acknowledged(self, job_id: str, producer: str, sequence: int) -> bool:
        """Whether this process has seen the tracker acknowledge a producer's report."""
        return self._acknowledged.get((job_id, producer), 0) >= sequence

    @property
    def pending(self) -> int:
        """Producers with something to say."""
        return len(self._pending)

    async def flushed(self) -> None:
        """Wait until everything submitted is acknowledged."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send what is submitted, for ever."""
        backoff = Backoff(base_s=0.2, cap_s=5.0, rng=self._rng)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch = self._take()
                took_all = not self._pending
                try:
                    with span("progress.report", parent=batch[0].traceparent):
                        durable = await self._tracker.report(batch[0].owner, batch)
                except ServiceError as error:
                    if not is_outage(error):
                        _log.warning("report_refused", reason=error.reason, message=error.message)
                    self._restore(batch)
                    await asyncio.sleep(backoff.next_s(floor_s=0.05))
                    continue
                backoff.reset()
                for report, kept in zip(batch, durable, strict=True):
                    if kept:
                        self._remember(report)
                if took_all:
                    if not self._pending:
                        self._idle.set()
                    await asyncio.sleep(_GATHER_S)
            self._idle.set()

    def _take(self) -> list[Report]:
        """Take the oldest reports of one owner, in their order, up to a bounded number of items."""
        batch: list[Report] = []
        items = 0
        for where, report in list(self._pending.items()):
            if batch and report.owner != batch[0].owner:
                continue
            if batch and (
                len(batch) >= _MAX_REPORTS_AT_ONCE or items + len(report.outcomes) > _MAX_ITEMS_AT_ONCE
            ):
                break
            batch.append(report)
            items += len(report.outcomes)
            del self._pending[where]
        self._pending_items -= items
        return batch

    def _restore(self, batch: Sequence[Report]) -> None:
        """Put back, at the front and without content, what could not be sent, under what came meanwhile."""
        for report in reversed(batch):
            where = report.job_id, report.producer
            later = self._pending.get(where)
            light = replace(
                report, outcomes={at: _without_content(each) for at, each in report.outcomes.items()}
            )
            latest = light if later is None else merged(light, later)
            self._pending_items += len(latest.outcomes) - (len(later.outcomes) if later else 0)
            self._pending[where] = latest
            self._pending.move_to_end(where, last=False)
        self._shed()

    def _shed(self) -> None:
        """Give up the oldest item updates beyond the bound; totals are kept."""
        if self._pending_items <= _MAX_ITEMS_PENDING:
            return
        for where, report in self._pending.items():
            if report.outcomes:
                self.dropped += len(report.outcomes)
                self._pending_items -= len(report.outcomes)
                self._pending[where] = replace(report, outcomes={})
            if self._pending_items <= _MAX_ITEMS_PENDING:
                return

    def _remember(self, report: Report) -> None:
        where = report.job_id, report.producer
        self._acknowledged[where] = max(report.sequence, self._acknowledged.pop(where, 0))
        while len(self._acknowledged) > _MAX_REMEMBERED:
            self._acknowledged.popitem(last=False)
