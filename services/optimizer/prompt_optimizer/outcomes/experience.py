"""How long outputs of versions have been, at hand for estimates; other processes' as of `REFRESH_S` ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

from service_common.clock import Clock
from service_common.errors import ServiceError

from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.template import VersionKey

REFRESH_S = 10.0

Name: TypeAlias = tuple[str, VersionKey]


class CurrentStatistics(Protocol):
    """Sums with all that was counted, stored or not."""

    async def get(self, tenant: str, keys: Sequence[VersionKey]) -> list[Statistics]:
        """Return what came of these versions, in order."""
        ...


class Experience:
    """Sums of versions, at most `capacity` of them, the least recently learned given up."""

    def __init__(self, current: CurrentStatistics, *, clock: Clock, capacity: int) -> None:
        self._current = current
        self._clock = clock
        self._capacity = capacity
        self._known: OrderedDict[Name, tuple[float, Statistics]] = OrderedDict()

    async def mean_output_tokens(self, tenant: str, keys: Sequence[VersionKey]) -> Mapping[VersionKey, float]:
        """Return the mean length of each version's outputs, for those that have any and are known."""
        now = self._clock.monotonic()
        stale = [key for key in keys if self._read_at(tenant, key) + REFRESH_S <= now]
        if stale:
            await self._refresh(tenant, stale)
        found: dict[VersionKey, float] = {}
        for key in keys:
            length = self._sums(tenant, key).mean_output_tokens
            if length is not None:
                found[key] = length
        return found

    async def _refresh(self, tenant: str, keys: Sequence[VersionKey]) -> None:
        # Fresh from now on: calls that come meanwhile do with what is known, and do not read the same again.
        self.learn(tenant, {key: self._sums(tenant, key) for key in keys})
        # An estimate is not worth a failed request: the old one serves for another while.
        with suppress(ServiceError):
            sums = await self._current.get(tenant, keys)
            self.learn(tenant, dict(zip(keys, sums, strict=True)))

    def learn(self, tenant: str, sums: Mapping[VersionKey, Statistics]) -> None:
        """Take over sums just read or written."""
        now = self._clock.monotonic()
        for key, each in sums.items():
            self._known[tenant, key] = (now, each)
            self._known.move_to_end((tenant, key))
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)

    def add(self, tenant: str, added: Mapping[VersionKey, Statistics]) -> None:
        """Add what was just counted to the sums that are known; the others are read when they are needed."""
        for key, each in added.items():
            known = self._known.get((tenant, key))
            if known is not None:
                self._known[tenant, key] = (known[0], known[1].plus(each))

    def _read_at(self, tenant: str, key: VersionKey) -> float:
        return self._known.get((tenant, key), (-REFRESH_S, None))[0]

    def _sums(self, tenant: str, key: VersionKey) -> Statistics:
        known = self._known.get((tenant, key))
        return known[1] if known else Statistics()
