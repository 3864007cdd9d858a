"""A burst beyond what gRPC itself would let wait is served, or refused with a time to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from service_common.rpc.status import from_rpc_error

BURST = 4000


async def test_a_burst_is_served_or_told_when_to_come_back(serve: Any) -> None:
    """Of 4,000 calls at once each is answered; what exceeds the limit is refused by name, with a time."""

    async def ask(stub: Any) -> str:
        try:
            return str((await stub.Unary(StringValue(value="a"))).value)
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error)
            assert found.retry_after is not None
            return found.reason

    async with serve() as running:
        answers = await asyncio.gather(*(ask(running.stub) for _ in range(BURST)))
    assert set(answers) <= {"a", "TOO_MANY_CALLS"}
    assert answers.count("a") >= BURST / 2
