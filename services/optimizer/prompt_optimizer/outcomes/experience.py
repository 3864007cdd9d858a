"""How long outputs of versions have been, at hand for estimates; as of at most `REFRESH_S` ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from service_common.clock import Clock
from service_common.errors import ServiceError

from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import VersionKey

REFRESH_S = 10.0

Name: TypeAlias = tuple[str, VersionKey]


class StoredStatistics(Protocol):
    """Sums that outlive the process."""

    async def get(self, tenant: str, keys: Sequence[VersionKey]) -> list[Statistics]:
        """Return what came of these versions, in order."""
        ...

    async def add(
        self, tenant: str, batch_id: str, added: Mapping[VersionKey, Statistics]
    ) -> dict[VersionKey, Statistics] | None:
        """Add to the statistics of versions, once per batch id; returns the new sums, None for a repeat."""
        ...


class Experience:
    """Mean lengths of outputs, at most `capacity` of them, the least recently read given up."""

    def __init__(self, stored: StoredStatistics, *, clock: Clock, capacity: int) -> None:
        self._stored = stored
        self._clock = clock
        self._capacity = capacity
        self._known: OrderedDict[Name, tuple[float, float | None]] = OrderedDict()

    async def mean_output_tokens(self, tenant: str, keys: Sequence[VersionKey]) -> Mapping[VersionKey, float]:
        """Return the mean length of each version's outputs, for those that have any and are known."""
        now = self._clock.monotonic()
        stale = [
            key for key in keys if self._known.get((tenant, key), (-REFRESH_S, None))[0] + REFRESH_S <= now
        ]
        if stale:
            await self._refresh(tenant, stale)
        found: dict[VersionKey, float] = {}
        for key in keys:
            _, length = self._known.get((tenant, key), (0.0, None))
            if length is not None:
                found[key] = length
        return found

    async def _refresh(self, tenant: str, keys: Sequence[VersionKey]) -> None:
        try:
            sums = await self._stored.get(tenant, keys)
        except ServiceError:
            # An estimate is not worth a failed request: the old one serves for another while.
            self._keep(tenant, {key: self._known.get((tenant, key), (0.0, None))[1] for key in keys})
        else:
            self.learn(tenant, dict(zip(keys, sums, strict=True)))

    def learn(self, tenant: str, sums: Mapping[VersionKey, Statistics]) -> None:
        """Take over sums just read or written."""
        self._keep(tenant, {key: each.mean_output_tokens for key, each in sums.items()})

    def _keep(self, tenant: str, lengths: Mapping[VersionKey, float | None]) -> None:
        now = self._clock.monotonic()
        for key, length in lengths.items():
            self._known[tenant, key] = (now, length)
            self._known.move_to_end((tenant, key))
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
