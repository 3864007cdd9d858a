"""Frames to a client that may not read: a write that stays blocked ends the stream, and holds one frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from service_common.errors import resource_exhausted


async def send_all(
    frames: AsyncGenerator[bytes, None], write: Callable[[bytes], Awaitable[None]], *, timeout_s: float
) -> None:
    """Write every frame.

    Args:
        frames: What to send; closed when this returns or raises.
        write: Sends one; returns when the client has room for more.
        timeout_s: How long a client may leave no room.

    Raises:
        ServiceError: RESOURCE_EXHAUSTED (SLOW_CONSUMER) when it did so for longer; else what `frames` raises.
    """
    async with aclosing(frames):
        async for frame in frames:
            try:
                async with asyncio.timeout(timeout_s):
                    await write(frame)
            except TimeoutError as error:
                raise resource_exhausted(
                    "SLOW_CONSUMER",
                    f"nothing was read for {timeout_s:g} seconds; continue with the last resume token",
                ) from error
