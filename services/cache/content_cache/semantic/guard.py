"""Whether the words of two prompts allow one answer for both; deterministic, and it has the last word.

Embeddings hardly see a `not`, a swapped pair of names or another number. The guard does: whatever is not known to
be harmless must be the same in both prompts and stand in the same order. Only then may similarity decide.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from content_cache.semantic.words import (
    ABSORBED,
    ASIDES,
    BINDING,
    IDLE,
    INTENTS,
    LEADS,
    LETTERED,
    NUMBERS,
    QUESTIONS,
    REWRITES,
    SYNONYMS,
    TENSES,
    UNSINGULAR,
)

MOST_EXTRA_WORDS = 2
_TOKEN = re.compile(r"(?<!\w)-?\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d|[^\s\w.,;:?!\"'()\[\]{}\u2026\u2013\u2014-]|_")
_NUMBER = re.compile(r"-?\d")
_ORDINAL = re.compile(r"(\d)(?:st|nd|rd|th)\b")
_SHORTEST_PLURAL = 4


class Verdict(Enum):
    """What the words allow."""

    SAME = "SAME"
    EXTENDED = "EXTENDED"
    NUMBERS = "NUMBERS"
    ORDER = "ORDER"
    BINDING = "BINDING"
    INTENT = "INTENT"
    WORDS = "WORDS"

    @property
    def is_veto(self) -> bool:
        """Whether the answer may not be reused, however similar the prompts are."""
        return self not in (Verdict.SAME, Verdict.EXTENDED)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a prompt says, without what it says it with.

    Attributes:
        tense: `past` or `present`, where it is clear.
        numbers: Every number, in order.
        intents: What is wanted and which question is asked; sorted.
        words: All other words that mean something, in order; names of people and places begin with `^`.
    """

    tense: str
    numbers: tuple[str, ...]
    intents: tuple[str, ...]
    words: tuple[str, ...]


def signature(prompt: str) -> Signature:
    """Return what a prompt says."""
    text = unicodedata.normalize("NFKC", prompt).replace("\u2019", "'")
    names = _names(text)
    tokens = list(_tokens(text))
    tenses = {TENSES[each] for each in tokens if each in TENSES}
    numbers = tuple(each.replace(",", "") for each in tokens if _NUMBER.match(each))
    intents: set[str] = set()
    words: list[str] = []
    for before, token in zip(["", *tokens], tokens, strict=False):
        if token in QUESTIONS:
            intents.add(QUESTIONS[token])
        elif token in LEADS and not words:
            intents.add(LEADS[token])
        elif token in INTENTS and before != "of":
            intents.add(INTENTS[token])
        elif token not in IDLE and not _NUMBER.match(token):
            words.append(f"^{_singular(token)}" if token in names else _singular(token))
    absorbed = frozenset({""}).union(*(ABSORBED.get(each, ()) for each in intents))
    return Signature(
        tenses.pop() if len(tenses) == 1 else "",
        numbers,
        tuple(sorted(intents - absorbed)),
        tuple(each for each in words if each not in absorbed),
    )


def compare(one: Signature, other: Signature) -> Verdict:
    """Tell whether one answer may serve two prompts, or what forbids it; the order of the two does not matter."""
    if one.numbers != other.numbers:
        return Verdict.NUMBERS
    if one.tense and other.tense and one.tense != other.tense:
        return Verdict.BINDING
    ours, theirs = _plain(one.words), _plain(other.words)
    if ours == theirs:
        return Verdict.SAME if one.intents == other.intents else Verdict.INTENT
    more, less = Counter(ours), Counter(theirs)
    extra, missing = more - less, less - more
    if not extra and not missing:
        return Verdict.ORDER
    if any(each in BINDING for each in (*extra, *missing)):
        return Verdict.BINDING
    if one.intents != other.intents:
        return Verdict.INTENT
    if extra and missing:
        return Verdict.WORDS
    longer, shorter = (one.words, theirs) if extra else (other.words, ours)
    return _extended(longer, shorter, extra or missing)


def _extended(longer: tuple[str, ...], shorter: tuple[str, ...], extra: Counter[str]) -> Verdict:
    if extra.total() > MOST_EXTRA_WORDS or any(f"^{each}" in longer or not each.isalpha() for each in extra):
        return Verdict.WORDS
    left = iter(_plain(longer))
    return Verdict.EXTENDED if all(each in left for each in shorter) else Verdict.ORDER


def _plain(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each.removeprefix("^") for each in words)


def _names(text: str) -> frozenset[str]:
    """Return the words, in lower case, that are capitalised elsewhere than at the start of a sentence."""
    inner = re.findall(r"(?<=[^\s.?!:])\s+([A-Z][^\W\d_]*)", text)
    return frozenset(each.lower() for each in inner)


def _tokens(text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(_reworded(text))
    for index, token in enumerate(tokens):
        if token == "a" and 0 < index < len(tokens) - 1 and tokens[index - 1] in LETTERED:
            yield "letter-a"
        elif token != "a" or index == len(tokens) - 1:
            token = NUMBERS.get(token, token)
            yield SYNONYMS.get(token, token)


def _reworded(text: str) -> str:
    # A capital A inside a sentence is a name, a vitamin's for one, and no article.
    text = re.sub(r"(?<=[^\s.?!:]) A\b", " letter-a", text)
    text = _ORDINAL.sub(r"\1", ASIDES.sub(" ", text.lower()))
    for pattern, instead in REWRITES:
        text = pattern.sub(instead, text)
    return text


def _singular(word: str) -> str:
    if len(word) < _SHORTEST_PLURAL or word in UNSINGULAR or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > _SHORTEST_PLURAL:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word.removesuffix("s")
