"""Takes reports of outcomes: scores what can be scored and counts each batch once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from service_common.clock import Clock
from service_common.errors import ServiceError
from service_common.frozen import dataclass

from prompt_optimizer.decisions.decision import DecisionIds
from prompt_optimizer.outcomes.experience import Experience
from prompt_optimizer.outcomes.outcome import Outcome, Status
from prompt_optimizer.outcomes.record import PART, Part, QualityRecord, mark_of
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.outcomes.write_behind import WriteBehind
from prompt_optimizer.quality import QualityScore, score
from prompt_optimizer.templates.template import VersionKey

_SCORED_AT_A_STRETCH = 32
_WITH_OUTPUT = frozenset({Status.SUCCEEDED, Status.TRUNCATED})
_UNSCORED = QualityScore(0.0, ())
_DECIMALS = 4

Result: TypeAlias = QualityScore | ServiceError


@dataclass(frozen=True, slots=True)
class _Judged:
    record: QualityRecord
    score: QualityScore | None


class Recorder:
    """Scores outcomes and adds them to the statistics of their versions."""

    def __init__(
        self,
        counted: WriteBehind,
        experience: Experience,
        *,
        ids: DecisionIds,
        clock: Clock,
        on_counted: Callable[[QualityRecord], None],
    ) -> None:
        """Make a recorder.

        Args:
            counted: Where outcomes are kept.
            experience: Learns what was counted.
            ids: Reads decision ids.
            clock: Says when an outcome was counted.
            on_counted: Hears of each outcome counted, never of a repeat.
        """
        self._counted = counted
        self._experience = experience
        self._ids = ids
        self._clock = clock
        self._on_counted = on_counted

    async def record(
        self, tenant: str, batch_id: str, outcomes: Sequence[Outcome | ServiceError], *, first: bool
    ) -> list[Result]:
        """Score each outcome, count the batch if it is new, and return one result each, in order.

        Args:
            tenant: Whose decisions they are.
            batch_id: Names the batch.
            outcomes: As reported; an error in an outcome's place is returned as it is.
            first: Whether the batch was certainly never sent before.

        Raises:
            ServiceError: UNAVAILABLE if too many outcomes wait for the store, or it cannot be asked whether
                the batch is known; repeat with the same batch id.
        """
        now = self._clock.now()
        judged: list[_Judged | ServiceError] = []
        for index, each in enumerate(outcomes):
            if index % _SCORED_AT_A_STRETCH == _SCORED_AT_A_STRETCH - 1:
                await asyncio.sleep(0)  # other calls have their turn
            judged.append(self._judge(tenant, each, now))
        good = [each for each in judged if isinstance(each, _Judged)]
        for part in await self._counted.take(tenant, list(_parts(tenant, batch_id, good)), first=first):
            self._experience.add(tenant, part.sums)
            for record in part.records:
                self._on_counted(record)
        return [each if isinstance(each, ServiceError) else each.score or _UNSCORED for each in judged]

    def _judge(self, tenant: str, outcome: Outcome | ServiceError, now: datetime) -> _Judged | ServiceError:
        if isinstance(outcome, ServiceError):
            return outcome
        try:
            decision = self._ids.read(tenant, outcome.decision_id)
        except ServiceError as error:
            return error
        scorable = outcome.status in _WITH_OUTPUT
        quality = (
            score(outcome.output, decision.content_type, subjects=outcome.subjects) if scorable else None
        )
        record = QualityRecord(
            version=VersionKey(decision.family, decision.version),
            content_type=decision.content_type,
            status=outcome.status,
            score=None if quality is None else round(quality.overall, _DECIMALS),
            aspects=() if quality is None else _aspects(quality),
            prompt_tokens=outcome.prompt_tokens,
            output_tokens=outcome.output_tokens,
            cost_micros=outcome.cost_micros,
            latency_s=outcome.latency_s,
            time=now,
        )
        return _Judged(record, quality)


def _aspects(quality: QualityScore) -> tuple[tuple[str, float], ...]:
    return tuple((each.name, round(each.score, _DECIMALS)) for each in quality.components)


def _parts(tenant: str, batch_id: str, judged: Sequence[_Judged]) -> Iterator[Part]:
    # Cut by number alone, so that a repeat is cut at the same places.
    for start in range(0, len(judged), PART):
        part = judged[start : start + PART]
        mark = mark_of(tenant, "part", batch_id, str(start))
        yield Part(mark, tuple(each.record for each in part), _totals(part))


def _totals(judged: Sequence[_Judged]) -> dict[VersionKey, Statistics]:
    by_version: defaultdict[VersionKey, list[_Judged]] = defaultdict(list)
    for each in judged:
        if not each.record.raw:
            by_version[each.record.version].append(each)
    return {version: _statistics(each) for version, each in by_version.items()}


def _statistics(judged: Sequence[_Judged]) -> Statistics:
    # All at once: adding them one by one would take longer than everything else done with an outcome here.
    records = [each.record for each in judged]
    scores = [each.score.overall for each in judged if each.score]
    return Statistics(
        outcomes=len(records),
        successes=sum(each.status is Status.SUCCEEDED for each in records),
        scored=len(scores),
        score_sum=sum(scores),
        prompt_tokens=sum(each.prompt_tokens for each in records),
        output_tokens=sum(each.output_tokens for each in records),
        produced=sum(each.status in _WITH_OUTPUT for each in records),
        cost_micros=sum(each.cost_micros for each in records),
    )
