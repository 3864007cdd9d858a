"""About how many tokens a prompt has, without any model's tokenizer; for estimates, never for money."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

_CHARACTERS_PER_TOKEN = 4
_EXTRA_BYTE_WEIGHT = 1.5
_TOKENS_PER_MESSAGE = 4


def estimate_tokens(contents: Iterable[str]) -> int:
    """Return about how many tokens messages with these contents have.

    Four characters of English make a token; scripts that take several bytes a character take about a token
    for each character.
    """
    return ceil(sum(_TOKENS_PER_MESSAGE + _weight(each) / _CHARACTERS_PER_TOKEN for each in contents))


def _weight(text: str) -> float:
    if text.isascii():
        return len(text)
    extra = len(text.encode("utf-8", "replace")) - len(text)
    return len(text) + _EXTRA_BYTE_WEIGHT * extra
