"""Opens the semantic tier with the embedded model; imported only when it is asked for."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable

from service_common.clock import Clock

from content_cache.config import Settings
from content_cache.entry import Entry
from content_cache.live import Turn
from content_cache.semantic.embedding import DIMENSIONS, MiniLm
from content_cache.semantic.judge import OutputSimilarity
from content_cache.semantic.reuse import Reuse
from content_cache.semantic.tier import SemanticTier

_TICKET_BYTES = 16


async def open_reuse(
    settings: Settings, turn: Turn, *, clock: Clock, value_of: Callable[[Entry], bytes | None]
) -> Reuse:
    """Load the model, off the loop, and return the tier, empty.

    Args:
        settings: What to run with.
        turn: Turns on the cache.
        clock: Ends tickets.
        value_of: Takes the content out of an entry; None if it does not come back.
    """
    embedder = await asyncio.to_thread(MiniLm)
    tier = SemanticTier(
        error=settings.cache_semantic_error,
        max_prompts=settings.cache_semantic_max_prompts,
        dimensions=DIMENSIONS,
        random=random.random,
        new_ticket=lambda: secrets.token_urlsafe(_TICKET_BYTES),
    )
    judge = OutputSimilarity(embedder, at_least=settings.cache_semantic_same_output)
    return Reuse(tier, embedder, judge, turn=turn, clock=clock, value_of=value_of)
