"""Where snapshots of heat are kept: a document per replica, in one of a few places.

Nobody depends on it: without it a start loads what was stored last. A replica has one of `PLACES` places at
random, so that nothing must be known about the others; of two in one place the later writer's is kept.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError
from service_common.storage.documents import Key, Set
from service_common.storage.shapes import Collection
from service_common.storage.store import DocumentStore

from content_cache.learning.heat import Heat, StoredHeat, encode
from content_cache.moments import micros

HEAT = Collection("heat", ttl_field="expire_time")
PLACES = 8

_KEPT = timedelta(days=1)
_SLICE = 1000
_log = structlog.get_logger("content_cache.repository.heat")


class HeatRepository:
    """Snapshots over a `DocumentStore`."""

    def __init__(self, store: DocumentStore, *, clock: Clock, writer: int) -> None:
        """Prepare; nothing is read.

        Args:
            store: Where snapshots are.
            clock: Dates them.
            writer: A number that other replicas are unlikely to share.
        """
        self._store = store
        self._clock = clock
        self._key = _key(writer % PLACES)
        self._saved = 0

    async def load(self) -> StoredHeat:
        """Return what is known; nothing if the store does not answer."""
        heat = StoredHeat()
        try:
            found = await self._store.get_many([_key(place) for place in range(PLACES)])
        except ServiceError as error:
            _log.warning("heat_unknown", reason=error.reason)
            return heat
        for each in found:
            snapshot, written = (each.data.get("keys"), each.data.get("written")) if each else (None, None)
            if isinstance(snapshot, bytes) and isinstance(written, int):
                heat.learn(snapshot, written)
                await asyncio.sleep(0)
        return heat

    async def save(self, heat: Heat) -> bool:
        """Write a snapshot if anything was used since the last one; tell whether it did.

        Raises:
            ServiceError: As `DocumentStore.commit`.
        """
        changes = heat.changes
        if changes == self._saved:
            return False
        parts: list[bytes] = []
        for keys in heat.parts():
            for start in range(0, len(keys), _SLICE):
                parts.append(b"".join(encode(keys[start : start + _SLICE])))
                await asyncio.sleep(0)
        now = self._clock.now()
        fields: dict[str, Any] = {"keys": b"".join(parts), "written": micros(now), "expire_time": now + _KEPT}
        await self._store.commit([Set(self._key, fields)])
        self._saved = changes
        return True


def _key(place: int) -> Key:
    return Key(HEAT.name, "all", f"place-{place}")
