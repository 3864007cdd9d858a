"""Waiting for what others generate: keys awaited together share a stream, each is answered by itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from service_common.errors import ServiceError

from parallel_processor.running.ports import CachePort, Entry, Owner

_GATHER_S = 0.01
_STREAM_KEYS = 500
_STREAM_S = 120.0


class Awaiter:
    """Follows keys that someone else holds the lease of.

    Its mutable state: one future per awaited key, and the keys that have no stream yet.
    """

    def __init__(self, cache: CachePort) -> None:
        self._cache = cache
        self._futures: dict[tuple[Owner, str], asyncio.Future[Entry | None]] = {}
        self._gathering: dict[Owner, list[str]] = defaultdict(list)
        self._streams: set[asyncio.Task[None]] = set()

    async def wait(self, owner: Owner, key: str) -> Entry | None:
        """Return the entry once it is there; None when its lease was lost or the cache is away."""
        future = self._futures.get((owner, key))
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._futures[owner, key] = future
            if not self._gathering[owner]:
                asyncio.get_running_loop().call_later(_GATHER_S, self._open_streams, owner)
            self._gathering[owner].append(key)
        return await asyncio.shield(future)

    def _open_streams(self, owner: Owner) -> None:
        by_replica: dict[str, list[str]] = defaultdict(list)
        for key in self._gathering.pop(owner, []):
            by_replica[self._cache.replica_of(key)].append(key)
        for keys in by_replica.values():
            for start in range(0, len(keys), _STREAM_KEYS):
                task = asyncio.create_task(self._follow(owner, keys[start : start + _STREAM_KEYS]))
                self._streams.add(task)
                task.add_done_callback(self._streams.discard)

    async def _follow(self, owner: Owner, keys: Sequence[str]) -> None:
        try:
            async for key, entry in self._cache.await_entries(owner, keys, timeout_s=_STREAM_S):
                self._answer(owner, key, entry)
        except ServiceError:
            pass  # whatever ended the stream: the callers ask again, and learn what is the matter
        finally:
            for key in keys:
                self._answer(owner, key, None)

    def _answer(self, owner: Owner, key: str, entry: Entry | None) -> None:
        future = self._futures.pop((owner, key), None)
        if future is not None and not future.done():
            future.set_result(entry)
