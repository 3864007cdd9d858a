"""Measures of calls as documents: one a tenant, of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

from service_common.storage import Decision, Document, DocumentStore, Set, Value

from parallel_processor.estimating.measure import Kind, Measure, Measures, merged
from parallel_processor.estimating.moments import Moments
from parallel_processor.repository import schema

MAX_KINDS = 300
"""Kinds of calls a tenant's document holds; beyond it those that were measured least leave."""


class MeasureRepository:
    """Stores measures."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def read(self, tenant: str) -> Measures:
        """Return a tenant's measures."""
        return _from_document(await self._store.get(schema.measures_key(tenant)))

    async def merge(self, tenant: str, measures: Measures) -> None:
        """Add to a tenant's measures."""
        key = schema.measures_key(tenant)

        def decide(documents: Sequence[Document | None]) -> Decision[None]:
            after = merged(_from_document(documents[0]), measures)
            kept = sorted(after.items(), key=lambda each: each[1].output_tokens.count)[-MAX_KINDS:]
            kinds: list[Value] = [_to_fields(kind, measure) for kind, measure in kept]
            return Decision(None, [Set(key, {"kinds": kinds})])

        await self._store.transact([key], decide)


def _to_fields(kind: Kind, measure: Measure) -> dict[str, Value]:
    record: dict[str, Value] = {**kind._asdict()}
    for each in fields(measure):
        record[each.name] = [*astuple(getattr(measure, each.name))]
    return record


def _from_document(document: Document | None) -> dict[Kind, Measure]:
    records: Sequence[Mapping[str, Any]] = document.data["kinds"] if document is not None else ()  # type: ignore[assignment]  # as written above
    return {
        Kind(each["model"], each["content_type"], each["max_tokens"]): Measure(
            *(Moments(*each[field.name]) for field in fields(Measure))
        )
        for each in records
    }
