"""What came of versions: each batch of outcomes is added once, whoever repeats it within `BATCH_LIFE`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from service_common.clock import Clock
from service_common.storage import Create, Decision, Document, DocumentStore, Set, Write

from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.repository import records, schema
from prompt_optimizer.templates.template import VersionKey

BATCH_LIFE = timedelta(days=1)
_VERSIONS_PER_COMMIT = 400

Sums = dict[VersionKey, Statistics]


class StatisticsRepository:
    """Sums per tenant and version in a document store."""

    def __init__(self, store: DocumentStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, tenant: str, keys: Sequence[VersionKey]) -> list[Statistics]:
        """Return what came of these versions, in order."""
        found = await self._store.get_many([schema.statistics_key(tenant, each) for each in keys])
        return [records.statistics_of(each.data if each else None) for each in found]

    async def add(self, tenant: str, batch_id: str, added: Mapping[VersionKey, Statistics]) -> Sums | None:
        """Add to the statistics of versions, once per batch id.

        Returns:
            The new sums, or None if all of the batch was counted before.
        """
        sums: Sums = {}
        counted = False
        for part, versions in enumerate(_parts(added)):
            result = await self._add_part(tenant, f"{batch_id}\n{part}", versions)
            counted = counted or result is not None
            sums.update(result or {})
        return sums if counted else None

    async def _add_part(
        self, tenant: str, part_id: str, added: Mapping[VersionKey, Statistics]
    ) -> Sums | None:
        batch = schema.batch_key(tenant, part_id)
        keys = [schema.statistics_key(tenant, each) for each in added]

        def decide(found: Sequence[Document | None]) -> Decision[Sums | None]:
            if found[0] is not None:
                return Decision(None)
            sums = {
                version: records.statistics_of(before.data if before else None).plus(more)
                for (version, more), before in zip(added.items(), found[1:], strict=True)
            }
            writes: list[Write] = [Create(batch, {"expire_time": self._clock.now() + BATCH_LIFE})]
            writes.extend(
                Set(key, records.statistics_fields(each))
                for key, each in zip(keys, sums.values(), strict=True)
            )
            return Decision(sums, writes)

        return await self._store.transact((batch, *keys), decide)


def _parts(added: Mapping[VersionKey, Statistics]) -> Iterator[Mapping[VersionKey, Statistics]]:
    # Sorted, so that a repeat is cut at the same places; one empty part, so that it is remembered as well.
    versions = sorted(added, key=lambda each: (each.family.template_id, each.family.born, each.version))
    for start in range(0, max(1, len(versions)), _VERSIONS_PER_COMMIT):
        yield {each: added[each] for each in versions[start : start + _VERSIONS_PER_COMMIT]}
