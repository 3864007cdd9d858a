"""How many tokens a text has, without its tokenizer: a bound that holds, and a guess."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from parallel_processor.model.requests import Message, ModelRequest

MESSAGE_OVERHEAD = 16
"""More than any known chat template puts around one message."""

CONVERSATION_OVERHEAD = 128
"""More than chat templates add of their own: a default system prompt, the date, the opening of the answer."""

_CHARACTERS_PER_TOKEN = 4


def prompt_tokens_upper_bound(messages: Iterable[Message]) -> int:
    """Bound the tokens of a prompt from above.

    A byte-pair token stands for at least one byte of the text, or of its normal form for tokenizers that
    compose characters first (NFC); so the bytes, plus what the chat template adds, are never exceeded.
    """
    return CONVERSATION_OVERHEAD + sum(
        MESSAGE_OVERHEAD + len(each.role) + _bytes_upper_bound(each.content) for each in messages
    )


def tokens_bound(request: ModelRequest) -> int:
    """Guess the most tokens a call takes: its prompt's, and all it may generate."""
    return request.max_tokens + sum(len(each.content) for each in request.messages) // _CHARACTERS_PER_TOKEN


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text: one for every four characters begun."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _bytes_upper_bound(text: str) -> int:
    if text.isascii():
        return len(text)
    size = len(text.encode())
    if unicodedata.is_normalized("NFC", text):
        return size
    return max(size, len(unicodedata.normalize("NFC", text).encode()))
