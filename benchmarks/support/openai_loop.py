"""The openai SDK's AsyncOpenAI in a loop, on uvloop: what most people do.

`python -m benchmarks.support.openai_loop URL ITEMS` prints a line of JSON: version, distinct, wall_s, cpu_s.
It needs nothing but the SDK and uvloop, so that another environment can have another version.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import uvloop
from openai import AsyncOpenAI, __version__

from benchmarks.support.sent import MAX_TOKENS, MODEL, Conversation, ask_all


async def _run(url: str, items: int) -> set[str]:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(messages: Conversation) -> str:
            completion = await client.chat.completions.create(
                model=MODEL,
                messages=messages,  # type: ignore[arg-type]  # plain dicts are what people pass
                max_tokens=MAX_TOKENS,
            )
            return completion.choices[0].message.content or ""

        return await ask_all(ask, items)


def main(arguments: Sequence[str]) -> None:
    """Run it once, and say how long it took without the start of the process."""
    url, items = arguments
    started, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        distinct = len(runner.run(_run(url, int(items))))
    taken = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    print(json.dumps({"version": __version__, "distinct": distinct} | taken))


if __name__ == "__main__":
    main(sys.argv[1:])
