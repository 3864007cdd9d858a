"""Outcomes go to the optimizer, which scores them; nothing waits long for a score, and little is lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog
from service_common.errors import ServiceError

from parallel_processor.running.batching import Batcher, by_size
from parallel_processor.running.outages import is_outage
from parallel_processor.running.ports import OptimizerPort, OutcomeReport, Owner, Prompt

_log = structlog.get_logger("parallel_processor.running.outcomes")
_BACKLOG_BATCHES = 1_000
_RETRY_S = 5.0
_DELIVERY_S = 3.0
_BATCH = 100
_BATCH_BYTES = 2_000_000
"""Well under the optimizer's largest message."""


@dataclass(slots=True)
class _Batch:
    """Outcomes that travel together, and how often they were sent: that alone changes."""

    owner: Owner
    batch_id: str
    reports: tuple[OutcomeReport, ...]
    sendings: int = 0


class Outcomes:
    """Reports outcomes. Its mutable state: the bounded backlog of batches that the optimizer has not taken.

    Attributes:
        dropped: Outcomes given up because the backlog was full.
    """

    def __init__(self, optimizer: OptimizerPort, *, score_wait_s: float) -> None:
        """Prepare to report.

        Args:
            optimizer: Who scores.
            score_wait_s: The longest a piece waits for its score.
        """
        self._optimizer = optimizer
        self._score_wait_s = score_wait_s
        self._backlog: deque[_Batch] = deque()
        self._batches = Batcher[Owner, OutcomeReport, float | None](
            self._send, max_batch=_BATCH, patient=True
        )
        self.dropped = 0

    async def score(self, owner: Owner, report: OutcomeReport) -> float | None:
        """Report an outcome and return its quality score; None when the optimizer does not answer soon."""
        return await self._batches.submit(owner, report)

    def tell(self, owner: Owner, report: OutcomeReport) -> None:
        """Report an outcome that has no score for anyone to wait for."""
        self._batches.post(owner, report)

    async def deliver_backlog(self) -> None:
        """Send what could not be sent before, for ever; a repeated batch counts once."""
        while True:
            await asyncio.sleep(_RETRY_S)
            while self._backlog:
                batch = self._backlog[0]
                try:
                    await self._record(batch, timeout_s=_DELIVERY_S)
                except ServiceError as error:
                    if is_outage(error):
                        break
                    _log.warning("outcomes_refused", reason=error.reason, message=error.message)
                self._backlog.popleft()

    async def _send(self, owner: Owner, reports: list[OutcomeReport]) -> Sequence[float | None]:
        parts = [
            _Batch(owner, uuid4().hex, tuple(part)) for part in by_size(reports, _weight, most=_BATCH_BYTES)
        ]
        return [score for part in parts for score in await self._scores(part)]

    async def _scores(self, batch: _Batch) -> Sequence[float | None]:
        """Report a batch now; one that must wait for the optimizer goes to the backlog, without scores."""
        try:
            if all(each.decision_id for each in batch.reports):
                return await self._record(batch, timeout_s=self._score_wait_s)
            self._keep(batch)
        except ServiceError as error:
            if is_outage(error):
                self._keep(batch)
            else:
                _log.warning("outcomes_refused", reason=error.reason, message=error.message)
        return [None] * len(batch.reports)

    async def _record(self, batch: _Batch, *, timeout_s: float) -> Sequence[float | None]:
        decided = await self._decided(batch)
        known = [each for each in decided if each is not None]
        if not known:
            return [None] * len(decided)
        batch.sendings += 1
        answer = await self._optimizer.record(
            batch.owner, batch.batch_id, known, attempt=batch.sendings, timeout_s=timeout_s
        )
        scores = iter(answer)
        return [next(scores) if each is not None else None for each in decided]

    async def _decided(self, batch: _Batch) -> list[OutcomeReport | None]:
        """Get decisions for prompts that were rendered here; None where there will be none."""
        undecided = [each for each in batch.reports if not each.decision_id]
        if not undecided:
            return list(batch.reports)
        prompts = iter(await self._optimizer.optimize(batch.owner, [each.spec for each in undecided]))
        return [each if each.decision_id else _with_decision(each, next(prompts)) for each in batch.reports]

    def _keep(self, batch: _Batch) -> None:
        if len(self._backlog) >= _BACKLOG_BATCHES:
            self.dropped += len(self._backlog.popleft().reports)
        self._backlog.append(batch)


def _weight(report: OutcomeReport) -> int:
    """Return about how many bytes a report takes, and the question for its decision where it has none."""
    weight = len(report.output.encode())
    if report.decision_id:
        return weight
    spec = report.spec
    prompt = (
        [*spec.variables.values(), *(text for _, text in spec.raw.messages)]
        if spec.raw
        else spec.variables.values()
    )
    return weight + sum(len(each.encode()) for each in prompt)


def _with_decision(report: OutcomeReport, prompt: Prompt | Exception) -> OutcomeReport | None:
    if isinstance(prompt, Prompt) and prompt.decision_id:
        return replace(report, decision_id=prompt.decision_id)
    return None
