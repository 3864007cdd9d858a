"""A client that does not read costs one frame for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from progress_tracker.sending import send_all
from service_common.errors import ServiceError


async def test_a_blocked_write_ends_the_stream() -> None:
    """SLOW_CONSUMER, and whatever made the frames is closed at once."""
    closed = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"frame"
        finally:
            closed.set()

    written = 0

    async def write(_: bytes) -> None:
        nonlocal written
        written += 1
        if written == 3:
            await asyncio.Event().wait()

    with pytest.raises(ServiceError) as caught:
        await send_all(frames(), write, timeout_s=0.01)
    assert caught.value.reason == "SLOW_CONSUMER"
    assert closed.is_set()
