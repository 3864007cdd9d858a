"""The log of calls: at most one line each, none for a quiet success."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue
from structlog.testing import capture_logs


@pytest.fixture(params=["info", "debug"])
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Write lines of at least this level."""
    least = logging.getLevelNamesMapping()[request.param.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(least))
    yield str(request.param)
    structlog.reset_defaults()


async def test_one_line_a_call_at_most(serve: Any, level: str) -> None:
    """A success has a line at debug alone; a failure has one, and a stream; an unexpected one is an error."""
    async with serve() as running:
        with capture_logs() as lines:
            for word in ("fine", "bad", "boom"):
                try:
                    await running.stub.Unary(StringValue(value=word))
                except grpc.aio.AioRpcError:
                    continue
            async for _ in running.stub.Down(StringValue(value="a")):
                pass
    calls = [
        (each["grpc_method"], each["code"], each["log_level"]) for each in lines if each["event"] == "call"
    ]
    expected = [
        ("Unary", "OK", "debug"),
        ("Unary", "INVALID_ARGUMENT", "info"),
        ("Unary", "INTERNAL", "error"),
        ("Down", "OK", "info"),
    ]
    assert calls == (expected if level == "debug" else expected[1:])
    assert all(each["request_id"] for each in lines if each["event"] == "call")
