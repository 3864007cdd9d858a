"""Whether the words of two prompts allow one answer for both; deterministic, and it has the last word.

Embeddings hardly see a `not`, a swapped pair of names or another number. The guard does: whatever is not
known to be harmless must be the same in both prompts and stand in the same order. Only then may similarity
decide.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from sys import intern

from content_cache.semantic.words import (
    ABSORBED,
    ASIDES,
    BINDING,
    IDLE,
    INTENTS,
    LEADS,
    LETTERED,
    NUMBERS,
    OPENING,
    QUESTIONS,
    REWRITES,
    SYNONYMS,
    TO_BE,
    TO_DO,
    VERBS,
)

MOST_EXTRA_WORDS = 2
_TOKEN = re.compile(
    r"(?<![\w)])-?\d+(?:[.,:]\d+)*"  # numbers, with their sign
    r"|\d+(?:[.,:]\d+)*"
    r"|[^\W\d_]+(?:'[^\W\d_]+)*"  # words of any script
    r"|(?<=\s)-(?=\s)|(?<=\d)!"  # a minus, a factorial
    r"|[^\s\w.,;:?!\"'\u2026\u2013\u2014\u00bf\u00a1-]|_"  # signs that are no punctuation
)
_LETTER_A = "lettera"
_NUMBER = re.compile(r"-?\d")
_ORDINAL = re.compile(r"(\d)(?:st|nd|rd|th)\b")
_SHOUTED = re.compile(r"\b[^\W\d_]{2,}\b")
_PLAIN_WORDS = IDLE | OPENING | TO_BE.keys() | TO_DO.keys() | LEADS.keys() | INTENTS.keys() | QUESTIONS.keys()


class Verdict(Enum):
    """What the words allow, or what forbids it."""

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
        words: All else that means something, in order; names of people and places begin with `^`.
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
    intents, words = _parted(tokens)
    absorbed = frozenset({""}).union(*(ABSORBED.get(each, ()) for each in intents))
    return Signature(
        _tense(tokens),
        tuple(intern(each) for each in tokens if _NUMBER.match(each)),
        tuple(sorted(intents - absorbed)),
        tuple(intern(f"^{each}" if each in names else each) for each in words if each not in absorbed),
    )


def compare(one: Signature, other: Signature) -> Verdict:
    """Tell whether one answer may serve two prompts, or what forbids it; either may come first."""
    if one.numbers != other.numbers:
        return Verdict.NUMBERS
    if one.tense and other.tense and one.tense != other.tense:
        return Verdict.BINDING
    ours, theirs = _plain(one.words), _plain(other.words)
    wanted_alike = one.intents == other.intents
    if not ours or not theirs:
        return Verdict.WORDS
    if ours == theirs:
        return Verdict.SAME if wanted_alike else Verdict.INTENT
    extra, missing = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    return _differing(one, other, extra, missing, wanted_alike=wanted_alike)


def _differing(
    one: Signature, other: Signature, extra: Counter[str], missing: Counter[str], *, wanted_alike: bool
) -> Verdict:
    if not extra and not missing:
        return Verdict.ORDER
    if any(each in BINDING for each in (*extra, *missing)):
        return Verdict.BINDING
    if extra and missing:
        return Verdict.WORDS
    if not wanted_alike:
        return Verdict.INTENT
    longer, shorter = (one.words, other.words) if extra else (other.words, one.words)
    return _extended(longer, _plain(shorter), extra or missing)


def _extended(longer: Sequence[str], shorter: Sequence[str], extra: Counter[str]) -> Verdict:
    plain_words = all(each.isalpha() and f"^{each}" not in longer for each in extra)
    if not shorter or extra.total() > MOST_EXTRA_WORDS or not plain_words:
        return Verdict.WORDS
    left = iter(_plain(longer))
    return Verdict.EXTENDED if all(each in left for each in shorter) else Verdict.ORDER


def _plain(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(each.removeprefix("^") for each in words)


def _parted(tokens: Sequence[str]) -> tuple[set[str], list[str]]:
    """Part what is wanted from what it is wanted of."""
    intents = {"whether"} if tokens and tokens[0] in TO_BE | TO_DO else set[str]()
    words: list[str] = []
    topical = False
    for index, word in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        intent = _intent(tokens, index, topical=topical, leading=not words)
        if intent is not None and intent not in intents:
            intents.add(intent)
            topical = False
        elif intent is None and not _is_idle(tokens, index, leading=not words):
            if _NUMBER.match(word) and following in INTENTS:
                continue  # so many questions: wherever that is said, it is among the numbers
            words.append(word)
            topical = word not in BINDING
        else:
            topical = False
    return intents, words


def _intent(tokens: Sequence[str], index: int, *, topical: bool, leading: bool) -> str | None:
    """Return what a word wants; empty if just that something is wanted, None if it is part of a topic."""
    word, last = tokens[index], index == len(tokens) - 1
    if word == "what":
        following = "" if last else tokens[index + 1]
        return "" if following in TO_BE or tokens[-1] in TO_BE else "what"
    if word in QUESTIONS:
        return QUESTIONS[word]
    if leading and word in LEADS:
        return LEADS[word]
    if word in VERBS and VERBS[word][1] in tokens and (last or VERBS[word][0] == "difference"):
        return VERBS[word][0]
    return INTENTS.get(word) if not topical and (not index or tokens[index - 1] != "of") else None


def _is_idle(tokens: Sequence[str], index: int, *, leading: bool) -> bool:
    word, before = tokens[index], tokens[index - 1] if index else ""
    if word in TO_DO:  # an auxiliary; elsewhere it is what somebody does
        return index < len(tokens) - 1 and (not before or before in QUESTIONS)
    if word in TO_BE:  # `what is`; elsewhere it may be what makes a passive
        return before == "what" or index == len(tokens) - 1
    some = word == "some" and index + 1 < len(tokens) and tokens[index + 1] in INTENTS
    return word in IDLE or (leading and (some or word in OPENING))


def _tense(tokens: Sequence[str]) -> str:
    tenses = {(TO_BE | TO_DO)[each] for each in tokens if each in TO_BE or each in TO_DO}
    return tenses.pop() if len(tenses) == 1 else ""


def _names(text: str) -> frozenset[str]:
    """Return the words, in lower case, that are capitalised elsewhere than at the start of a sentence."""
    inner = re.findall(r"(?<=[^\s.?!:])\s+([A-Z][^\W\d_]*)", text)
    return frozenset(each.lower() for each in inner)


def _tokens(text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(_reworded(text))
    for index, word in enumerate(tokens):
        if word == "a" and 0 < index < len(tokens) - 1 and tokens[index - 1] in LETTERED:
            yield _LETTER_A
        elif word != "a" or index == len(tokens) - 1:
            plain = NUMBERS.get(word, word)
            yield plain.replace(",", "") if _NUMBER.match(plain) else SYNONYMS.get(plain, plain)


def _reworded(text: str) -> str:
    # A capital A inside a sentence is a name, a vitamin's for one, and no article; so are IT and AND.
    text = re.sub(r"(?<=[^\s.?!:]) A\b", f" {_LETTER_A}", text)
    if not text.isupper():
        text = _SHOUTED.sub(_unmistakable, text)
    text = ASIDES.sub(" ", _ORDINAL.sub(r"\1", text.lower()))
    for pattern, instead in REWRITES:
        text = pattern.sub(instead, text)
    return text


def _unmistakable(found: re.Match[str]) -> str:
    plain = found[0].lower()
    return f"capitals{plain}" if found[0].isupper() and plain in _PLAIN_WORDS - {"faq", "faqs"} else found[0]
