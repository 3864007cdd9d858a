"""Compiled versions at hand: built-in ones always, others until too many newer ones were asked for.

Versions never change, so nothing here can be out of date.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from prompt_optimizer.templates.compiled import CompiledVersion
from prompt_optimizer.templates.source import TemplateVersion
from prompt_optimizer.templates.template import VersionKey

Wanted: TypeAlias = tuple[str, VersionKey]
"""A tenant and one version of a template of his, or a built-in one."""


class Versions(Protocol):
    """Where versions are stored."""

    async def versions(self, tenant: str, keys: Sequence[VersionKey]) -> list[TemplateVersion | None]:
        """Return the versions in order; None where there is none."""
        ...


class Shelf:
    """Compiled versions, at most `capacity` besides the built-in ones, the least recently used given up."""

    def __init__(
        self, stored: Versions, built_in: Mapping[VersionKey, CompiledVersion], *, capacity: int
    ) -> None:
        self._stored = stored
        self._built_in = built_in
        self._capacity = capacity
        self._kept: OrderedDict[Wanted, CompiledVersion] = OrderedDict()

    async def fetch(self, tenant: str, keys: Iterable[VersionKey]) -> dict[VersionKey, CompiledVersion]:
        """Return those of the versions that exist, reading at most once what is not at hand.

        Raises:
            ServiceError: UNAVAILABLE if one is not at hand and the store cannot be reached.
        """
        found: dict[VersionKey, CompiledVersion] = {}
        missing: list[VersionKey] = []
        for key in dict.fromkeys(keys):
            known = self._at_hand(tenant, key)
            if known is not None:
                found[key] = known
            elif not key.family.built_in:
                missing.append(key)
        if missing:
            for key, version in zip(missing, await self._stored.versions(tenant, missing), strict=True):
                if version is not None:
                    found[key] = self._keep((tenant, key), CompiledVersion(version))
        return found

    def _at_hand(self, tenant: str, key: VersionKey) -> CompiledVersion | None:
        if key.family.built_in:
            return self._built_in.get(key)
        known = self._kept.get((tenant, key))
        if known is not None:
            self._kept.move_to_end((tenant, key))
        return known

    def _keep(self, wanted: Wanted, compiled: CompiledVersion) -> CompiledVersion:
        self._kept[wanted] = compiled
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return compiled
