"""The least a client can do: aiohttp on uvloop and nothing else."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import uvloop

from benchmarks.support.sent import IN_FLIGHT, MAX_TOKENS, MODEL, Conversation, ask_all


def run_bare_loop(url: str, items: int) -> set[str]:
    """Ask for so many items; return the distinct texts."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bare_loop(url, items))


async def _bare_loop(url: str, items: int) -> set[str]:
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(messages: Conversation) -> str:
            body = orjson.dumps({"model": MODEL, "messages": messages, "max_tokens": MAX_TOKENS})
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/chat/completions", data=body, headers=headers) as response:
                text: str = orjson.loads(await response.read())["choices"][0]["message"]["content"]
                return text

        return await ask_all(ask, items)
