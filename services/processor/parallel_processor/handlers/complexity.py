"""How much an item takes: its tokens, and what its handlers weigh beside them."""

from __future__ import annotations

from collections.abc import Iterable

from parallel_processor.handlers.handler import Blocking, Coroutine
from parallel_processor.model.requests import ModelRequest
from parallel_processor.model.tokens import estimate_tokens

COROUTINE_TOKENS = 16
"""What a coroutine weighs: it mostly waits."""

BLOCKING_TOKENS = 256
"""What a blocking handler weighs: it holds a thread for about as long as a model takes for so many tokens."""


def estimated_tokens(
    request: ModelRequest,
    handlers: Iterable[Coroutine | Blocking] = (),
    *,
    output_tokens: int | None = None,
) -> int:
    """Estimate an item's complexity in tokens; what it is queued and weighed by.

    Args:
        request: What the model is asked.
        handlers: What its output goes through.
        output_tokens: How long the output will be, where earlier ones tell; else it is as long as it may.
    """
    prompt = sum(estimate_tokens(each.content) for each in request.messages)
    output = request.max_tokens if output_tokens is None else min(output_tokens, request.max_tokens)
    return prompt + output + sum(_tokens(each) for each in handlers)


def _tokens(handler: Coroutine | Blocking) -> int:
    if isinstance(handler, Coroutine):
        return COROUTINE_TOKENS
    return 0 if handler.light_up_to else BLOCKING_TOKENS
