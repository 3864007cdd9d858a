"""A text taken apart once for all aspects; only so much of it as a judgement needs."""

from __future__ import annotations

import re

MAX_CHARS = 32 * 1024
"""What is looked at: the beginning, and the end for the question whether it is complete."""

# In ASCII, where this is much quicker than looking for `\w+`: what is part of no word is a blank.
_BLANKED = str.maketrans({each: " " for each in map(chr, range(128)) if not (each.isalnum() or each == "_")})
# Chinese and Japanese write without spaces: each of their characters counts as a word.
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_MIXED_WORDS = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+")


class Text:
    """One output, in the forms the aspects look at.

    Attributes:
        head: Its beginning, without surrounding blanks.
        tail: Its last characters, without surrounding blanks.
        lower: The beginning in lower case.
        words: The words of it.
        lines: Its lines that are not blank, without surrounding blanks.
    """

    __slots__ = ("head", "lines", "lower", "tail", "words")

    def __init__(self, content: str) -> None:
        whole = content.strip()
        self.head = whole[:MAX_CHARS]
        self.tail = whole[-200:]
        self.lower = self.head.lower()
        self.words: list[str] = words_of(self.lower)
        self.lines: list[str] = [line for each in self.head.splitlines() if (line := each.strip())]


def words_of(lower: str) -> list[str]:
    """Return the words of a text in lower case."""
    return lower.translate(_BLANKED).split() if lower.isascii() else _MIXED_WORDS.findall(lower)
