"""What most bulk runners do: a fixed number of calls in flight, and exponential backoff when refused.

Run as a process of its own: `python -m benchmarks.support.backoff_loop URL SECONDS`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from itertools import count

import aiohttp
import orjson
import uvloop

from benchmarks.support.sent import IN_FLIGHT, MAX_TOKENS, MODEL, conversation

_BASE_S, _CAP_S = 0.5, 20.0
_OK = 200


async def run(url: str, seconds: float) -> None:
    """Keep calls in flight for a while; each is repeated until it is answered."""
    stops_at = time.monotonic() + seconds
    numbers, dice = count(), random.Random(1)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def work() -> None:
            while time.monotonic() < stops_at:
                await _until_answered(session, url, next(numbers), dice=dice, stops_at=stops_at)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def _until_answered(
    session: aiohttp.ClientSession, url: str, number: int, *, dice: random.Random, stops_at: float
) -> None:
    body = orjson.dumps({"model": MODEL, "messages": conversation(number), "max_tokens": MAX_TOKENS})
    headers = {"Content-Type": "application/json"}
    for attempt in count():
        async with session.post(f"{url}/chat/completions", data=body, headers=headers) as response:
            await response.read()
        if response.status == _OK or time.monotonic() >= stops_at:
            return
        # Full jitter, as Marc Brooker recommends; what the endpoint asks for is a floor.
        wait_s = dice.uniform(0.0, min(_CAP_S, _BASE_S * 2.0 ** min(attempt, 32)))
        await asyncio.sleep(max(wait_s, float(response.headers.get("Retry-After", 0))))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1], float(sys.argv[2])))
