"""Takes reports of outcomes: scores what can be scored and counts each batch once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service_common.errors import ServiceError

from prompt_optimizer.decisions.decision import Decision, DecisionIds
from prompt_optimizer.outcomes.experience import Experience, StoredStatistics
from prompt_optimizer.outcomes.outcome import Outcome, Status
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.quality import QualityScore, score
from prompt_optimizer.templates.template import VersionKey

_SCORED_AT_A_STRETCH = 32
_WITH_OUTPUT = frozenset({Status.SUCCEEDED, Status.TRUNCATED})
_UNSCORED = QualityScore(0.0, ())


@dataclass(frozen=True, slots=True)
class Counted:
    """One outcome that was counted for the first time.

    Attributes:
        content_type: Of the output.
        outcome: As reported.
        score: Its score; None if there was nothing to score.
    """

    content_type: str
    outcome: Outcome
    score: float | None


Result: TypeAlias = QualityScore | ServiceError


@dataclass(frozen=True, slots=True)
class _Judged:
    decision: Decision
    outcome: Outcome
    score: QualityScore | None


class Recorder:
    """Scores outcomes and adds them to the statistics of their versions."""

    def __init__(
        self,
        stored: StoredStatistics,
        experience: Experience,
        *,
        ids: DecisionIds,
        on_counted: Callable[[Counted], None],
    ) -> None:
        """Make a recorder.

        Args:
            stored: Where sums are kept.
            experience: Learns the new sums.
            ids: Reads decision ids.
            on_counted: Hears of each outcome counted, never of a repeat.
        """
        self._stored = stored
        self._experience = experience
        self._ids = ids
        self._on_counted = on_counted

    async def record(
        self, tenant: str, batch_id: str, outcomes: Sequence[Outcome | ServiceError]
    ) -> list[Result]:
        """Score each outcome, count the batch if it is new, and return one result each, in order.

        Args:
            tenant: Whose decisions they are.
            batch_id: Names the batch.
            outcomes: As reported; an error in an outcome's place is returned as it is.

        Raises:
            ServiceError: UNAVAILABLE if the store is out of reach; repeat with the same batch id.
        """
        judged: list[_Judged | ServiceError] = []
        for index, each in enumerate(outcomes):
            if index % _SCORED_AT_A_STRETCH == _SCORED_AT_A_STRETCH - 1:
                await asyncio.sleep(0)  # other calls have their turn
            judged.append(self._judge(tenant, each))
        good = [each for each in judged if isinstance(each, _Judged)]
        sums = await self._stored.add(tenant, batch_id, _totals(good))
        if sums is not None:
            self._experience.learn(tenant, sums)
            for one in good:
                overall = one.score.overall if one.score else None
                self._on_counted(Counted(one.decision.content_type, one.outcome, overall))
        return [each if isinstance(each, ServiceError) else each.score or _UNSCORED for each in judged]

    def _judge(self, tenant: str, outcome: Outcome | ServiceError) -> _Judged | ServiceError:
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
        return _Judged(decision, outcome, quality)


def _totals(judged: Sequence[_Judged]) -> dict[VersionKey, Statistics]:
    totals: dict[VersionKey, Statistics] = {}
    for each in judged:
        if not each.decision.raw:
            key = VersionKey(each.decision.family, each.decision.version)
            totals[key] = totals.get(key, Statistics()).plus(_statistics(each))
    return totals


def _statistics(judged: _Judged) -> Statistics:
    outcome = judged.outcome
    return Statistics(
        outcomes=1,
        successes=int(outcome.status is Status.SUCCEEDED),
        scored=int(judged.score is not None),
        score_sum=judged.score.overall if judged.score else 0.0,
        prompt_tokens=outcome.prompt_tokens,
        output_tokens=outcome.output_tokens,
        produced=int(outcome.status in _WITH_OUTPUT),
        cost_micros=outcome.cost_micros,
    )
