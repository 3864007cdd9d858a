"""Many callers of one cache key in a process: `python cache_caller.py ADDRESS NAME COUNT KEY [hold]`.

Each acquires the key. Who gets the lease generates, or with `hold` does nothing but keep it; who must wait
does so under its own name, so that a lost lease is handed to it. Every event is a line of JSON on stdout.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc
from google.protobuf.duration_pb2 import Duration

LEASE_S = 3
_GENERATING_S = 0.2
_FOREVER_S = 600


def tell(event: str, holder: str) -> None:
    """Write what happened, and when by the clock all processes share."""
    sys.stdout.write(json.dumps({"event": event, "holder": holder, "at": time.monotonic()}) + "\n")
    sys.stdout.flush()


async def generate(stub: Any, holder: str, key: str, token: str, *, hold: bool) -> None:
    """Make the content under a lease, or keep the lease and make nothing."""
    tell("leased", holder)
    await asyncio.sleep(_FOREVER_S if hold else _GENERATING_S)
    fill = pb.BatchFillRequest.FillRequest(key=key, lease_token=token, content=pb.EntryContent(value=b"made"))
    (result,) = (await stub.BatchFill(pb.BatchFillRequest(requests=[fill]))).results
    tell(pb.FillOutcome.Name(result.value), holder)


async def call(stub: Any, holder: str, key: str, *, hold: bool) -> None:
    """Get the content, or be the one who makes it."""
    request = pb.BatchAcquireRequest(
        holder=holder,
        lease_ttl=Duration(seconds=LEASE_S),
        requests=[pb.BatchAcquireRequest.AcquireRequest(key=key)],
    )
    found = (await stub.BatchAcquire(request)).results[0].value
    tell(pb.AcquireOutcome.Name(found.outcome), holder)
    if found.outcome == pb.ACQUIRE_OUTCOME_LEASED:
        await generate(stub, holder, key, found.lease.token, hold=hold)
    if found.outcome != pb.ACQUIRE_OUTCOME_BUSY:
        return
    waiting = pb.AwaitEntriesRequest(keys=[key], holder=holder, lease_ttl=Duration(seconds=LEASE_S))
    async for message in stub.AwaitEntries(waiting):
        for each in message.entries:
            if each.outcome == pb.AWAIT_OUTCOME_LEASED:
                await generate(stub, holder, key, each.lease.token, hold=False)
            elif each.outcome == pb.AWAIT_OUTCOME_FILLED:
                tell("served", holder)
            else:
                tell("lost", holder)


async def main(address: str, name: str, count: int, key: str, *, hold: bool) -> None:
    """Let all call at once."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = cache_pb2_grpc.CacheServiceStub(channel)
        await asyncio.gather(*(call(stub, f"{name}-{n}", key, hold=hold) for n in range(count)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], hold=sys.argv[5:] == ["hold"]))
