"""The cache's replicas: each key belongs to one, and a batch is split among them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from contentfactory.cache.v1 import cache_pb2_grpc
from service_common.rpc.client import ClientPool

from parallel_processor.neighbours.acting import Acting
from parallel_processor.running.ports import Owner

Pool: TypeAlias = "ClientPool[cache_pb2_grpc.CacheServiceAsyncStub]"
ResultT = TypeVar("ResultT")
_TIMEOUT_S = 5.0


class CacheReplicas:
    """Calls the replica that a key belongs to, on behalf of an owner."""

    def __init__(self, pool: Pool, acting: Acting) -> None:
        self._pool = pool
        self._acting = acting

    def of(self, key: str) -> str:
        """Return a name for the replica a key belongs to."""
        return self._pool.target_for(key.encode()) if self._pool.targets else ""

    async def call(
        self,
        owner: Owner,
        key: str,
        method: Callable[[Any], Any],
        request: Any,
        *,
        timeout_s: float = _TIMEOUT_S,
        again: bool = True,
    ) -> Any:
        """Call a key's replica; `again` says whether a repeat does no harm."""
        return await self._pool.call(
            method,
            request,
            timeout_s=timeout_s,
            key=key.encode(),
            act_as=self._acting.as_owner(owner),
            idempotent=again,
        )

    def stream(
        self, owner: Owner, key: str, method: Callable[[Any], Any], request: Any, *, timeout_s: float
    ) -> AsyncGenerator[Any]:
        """Call a key's replica for a stream of answers."""
        return self._pool.stream(
            method, request, timeout_s=timeout_s, key=key.encode(), act_as=self._acting.as_owner(owner)
        )

    async def split(
        self,
        keys: Sequence[str],
        requests: Sequence[Any],
        ask: Callable[[Sequence[Any]], Awaitable[list[ResultT]]],
    ) -> list[ResultT]:
        """Ask each replica for its part of a batch, and put the results back in order."""
        if len(self._pool.targets) < 2:  # noqa: PLR2004 - nothing to split
            return await ask(requests)
        parts: dict[str, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            parts[self.of(key)].append(index)
        answers = await asyncio.gather(*(ask([requests[i] for i in part]) for part in parts.values()))
        by_index = {
            index: result
            for part, results in zip(parts.values(), answers, strict=True)
            for index, result in zip(part, results, strict=True)
        }
        return [by_index[index] for index in range(len(requests))]
