"""What the baselines send: the messages of one item after the other, 64 calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

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


async def ask_all(ask: Ask, items: int) -> set[str]:
    """Ask for so many items; return the distinct texts."""
    texts: set[str] = set()
    numbers = iter(range(items))

    async def worker(mine: Iterable[int]) -> None:
        for number in mine:
            texts.add(await ask(conversation(number)))

    await asyncio.gather(*(worker(numbers) for _ in range(IN_FLIGHT)))
    return texts
