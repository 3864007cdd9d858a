"""The baselines: the least a client can do, and what most people do. Both keep 64 calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import aiohttp
import orjson
import uvloop
from openai import AsyncOpenAI

IN_FLIGHT = 64
MODEL = "mock"
MAX_TOKENS = 300

_GUIDANCE = (
    "You write for curious adults. Use plain words, short sentences and examples. Keep to the topic. "
    "Every question starts with Q: and every answer starts with A:. "
) * 6

Conversation = list[dict[str, str]]
Ask = Callable[[Conversation], Awaitable[str]]


def conversation(number: int) -> Conversation:
    """Return the messages of one item; each number has its own."""
    return [
        {"role": "system", "content": _GUIDANCE},
        {"role": "user", "content": f"Write four questions and answers about subject number {number}."},
    ]


def run_bare_loop(url: str, items: int) -> set[str]:
    """Ask with aiohttp on uvloop and nothing else; return the distinct texts."""
    return _run(_bare_loop(url, items))


def run_openai_loop(url: str, items: int) -> set[str]:
    """Ask with the openai SDK's AsyncOpenAI, on uvloop too; return the distinct texts."""
    return _run(_openai_loop(url, items))


def _run(loop: Awaitable[set[str]]) -> set[str]:
    async def main() -> set[str]:
        return await loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def _bare_loop(url: str, items: int) -> set[str]:
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(messages: Conversation) -> str:
            body = orjson.dumps({"model": MODEL, "messages": messages, "max_tokens": MAX_TOKENS})
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/chat/completions", data=body, headers=headers) as response:
                text: str = orjson.loads(await response.read())["choices"][0]["message"]["content"]
                return text

        return await _ask_all(ask, items)


async def _openai_loop(url: str, items: int) -> set[str]:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(messages: Conversation) -> str:
            completion = await client.chat.completions.create(
                model=MODEL,
                messages=messages,  # type: ignore[arg-type]  # plain dicts are what people pass
                max_tokens=MAX_TOKENS,
            )
            return completion.choices[0].message.content or ""

        return await _ask_all(ask, items)


async def _ask_all(ask: Ask, items: int) -> set[str]:
    texts: set[str] = set()
    numbers = iter(range(items))

    async def worker(mine: Iterable[int]) -> None:
        for number in mine:
            texts.add(await ask(conversation(number)))

    await asyncio.gather(*(worker(numbers) for _ in range(IN_FLIGHT)))
    return texts
