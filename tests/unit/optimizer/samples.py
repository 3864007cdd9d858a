"""Outcomes for tests of what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.record import Part, QualityRecord, mark_of
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import Family, VersionKey
from service_common.errors import ServiceError
from service_common.storage import Decision, Document, DocumentStore, Key

START = datetime(2026, 1, 1, tzinfo=UTC)
FAQ = VersionKey(Family("faq"), 1)
RAW = VersionKey(Family(""), 0)


def version_of(number: int) -> VersionKey:
    """Return one of many versions."""
    return VersionKey(Family("haiku", 7), number)


def record(
    version: VersionKey = FAQ,
    content_type: str = "faq",
    *,
    score: float | None = 0.5,
    tokens: int = 10,
    time: datetime = START,
) -> QualityRecord:
    """Return what came of a decision."""
    return QualityRecord(
        version=version,
        content_type=content_type,
        status=Status.FAILED if score is None else Status.SUCCEEDED,
        score=score,
        aspects=() if score is None else (("length", score), ("variety", 1.0)),
        prompt_tokens=4 * tokens,
        output_tokens=tokens,
        cost_micros=3,
        latency_s=1.25,
        time=time,
    )


def part(name: str, *records: QualityRecord, tenant: str = "acme") -> Part:
    """Return records that are counted once under a name; one of the FAQ if none are given."""
    sums: dict[VersionKey, Statistics] = {}
    for each in records or (record(),):
        if not each.raw:
            one = Statistics(outcomes=1, output_tokens=each.output_tokens, produced=1)
            sums[each.version] = sums.get(each.version, Statistics()).plus(one)
    return Part(mark_of(tenant, "part", name, "0"), records or (record(),), sums)


class Hooked:
    """A store that does as a test tells it around transactions.

    Attributes:
        before: What is raised, or run, instead of beginning a transaction.
        after: What is raised once a transaction was stored.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.before: Callable[[Sequence[Key]], Any] | None = None
        self.after: ServiceError | None = None

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[Any]]
    ) -> Any:
        """Run a transaction, with what the test wants around it."""
        if self.before is not None:
            await self.before(keys)
        result = await self._store.transact(keys, decide)
        if self.after is not None:
            raise self.after
        return result

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the store does."""
        return getattr(self._store, name)
