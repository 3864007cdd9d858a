"""Opens the semantic tier with the embedded model; imported only when it is asked for."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable

from service_common.clock import Clock

from content_cache.entry import Entry
from content_cache.live import Turn
from content_cache.semantic.embedding import DIMENSIONS, MiniLm
from content_cache.semantic.judge import OutputSimilarity
from content_cache.semantic.reuse import Reuse
from content_cache.semantic.tier import SemanticTier

_TICKET_BYTES = 16


async def open_reuse(
    turn: Turn,
    *,
    error: float,
    max_prompts: int,
    same_output: float,
    clock: Clock,
    value_of: Callable[[Entry], bytes | None],
) -> Reuse:
    """Load the model, off the loop, and return the tier, empty.

    Args:
        turn: Turns on the cache.
        error: The part of reuses that may be wrong.
        max_prompts: Most prompts remembered.
        same_output: How much alike two outputs must be to be called the same.
        clock: Ends tickets.
        value_of: Takes the content out of an entry; None if it does not come back.
    """
    embedder = await asyncio.to_thread(MiniLm)
    tier = SemanticTier(
        error=error,
        max_prompts=max_prompts,
        dimensions=DIMENSIONS,
        random=random.random,
        new_ticket=lambda: secrets.token_urlsafe(_TICKET_BYTES),
    )
    judge = OutputSimilarity(embedder, at_least=same_output)
    return Reuse(tier, embedder, judge, turn=turn, clock=clock, value_of=value_of)
