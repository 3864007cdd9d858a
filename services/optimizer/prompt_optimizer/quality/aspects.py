"""What is asked of a text of any content type: length, relevance, variety and completeness."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prompt_optimizer.quality.findings import Finding, share
from prompt_optimizer.quality.text import Text, words_of

_WANTED_WORDS = {
    "outline": 60,
    "podcast_script": 110,
    "study_guide": 90,
    "one_pager": 80,
    "detailed_reading": 150,
    "faq": 80,
    "flashcards": 50,
    "reading_questions": 40,
}
_WANTED_WORDS_OTHERWISE = 20

_STOPWORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "in", "into",
    "is", "it", "its", "of", "on", "or", "that", "the", "their", "them", "they", "this", "to", "was", "were",
    "what", "when", "where", "which", "who", "why", "will", "with", "you", "your",
})  # fmt: skip
_SHORTEST_SUBJECT = 2
_PLURAL = re.compile(r"(?<=\w{3})(?:es|s)$")

_ALL_NEW = 0.85
_LOOP = 0.25
_GRAM = 3

# Also the full stops and quotes of other scripts, written as escapes because some look like ASCII.
_SENTENCE_END = re.compile("[.!?\u2026\u3002\uff01\uff1f\u061f\u0964][\"'\u201d\u2019)\\]*_`\u00bb\u300d]*$")
_ITEM_LINE = re.compile(r"(?:[-*•+|]|\d{1,3}[.)]|#{1,6})\s*")
_BARE_MARK = re.compile(r"[\W_]*(?:\d{1,3}|[A-Za-z]|[A-Za-z]+ ?\d*)[\W_]*")
_MARK_END = re.compile(r"[:.)\]*_-]$")
_DANGLING = re.compile("[,;:(\\[{\u2013\u2014-]$")


def length(text: Text, content_type: str) -> Finding:
    """Judge whether there are about as many words as such a piece needs at least."""
    wanted = _WANTED_WORDS.get(content_type, _WANTED_WORDS_OTHERWISE)
    return Finding(share(len(text.words), wanted), f"{len(text.words)} words, at least {wanted} expected")


def relevance(text: Text, subjects: Sequence[str]) -> Finding | None:
    """Judge how many of the subjects' words the text has; None when they have none to look for."""
    wanted = {
        stem
        for subject in subjects
        for word in words_of(subject.lower())
        if word not in _STOPWORDS and (stem := _PLURAL.sub("", word))
        if len(stem) >= _SHORTEST_SUBJECT or not stem.isascii()
    }
    if not wanted:
        return None
    missing = sorted(word for word in wanted if word not in text.lower)
    score = 1 - len(missing) / len(wanted)
    shown = ", ".join(each[:40] for each in missing[:5])
    explanation = (
        f"of {len(wanted)} words of the subjects, missing: {shown}"
        if missing
        else (f"all {len(wanted)} words of the subjects occur")
    )
    return Finding(score, explanation)


def variety(text: Text) -> Finding:
    """Judge how much of the text is new: models that loop repeat runs of words, or lines."""
    words = text.words
    total = len(words) - _GRAM + 1
    grams = len(set(zip(words, words[1:], words[2:], strict=False))) / total if total > 0 else 1.0
    lines = len(set(text.lines)) / len(text.lines) if text.lines else 1.0
    new = min(grams, lines)
    score = min(1.0, max(0.0, (new - _LOOP) / (_ALL_NEW - _LOOP)))
    return Finding(score, f"{round(100 * (1 - new))} % of it repeats what was said before")


def completeness(text: Text) -> Finding:
    """Judge whether the text ends where a text can end."""
    last = text.tail.rpartition("\n")[2].strip()
    if _BARE_MARK.fullmatch(last) and _MARK_END.search(last):
        return Finding(0.2, "ends with the mark of an item that is not there")
    if _DANGLING.search(last) or last.startswith("#"):
        return Finding(0.2, "ends where something was to follow")
    if _SENTENCE_END.search(last):
        return Finding(1.0, "ends with a sentence")
    if _ITEM_LINE.match(last):
        return Finding(0.8, "ends with a list item")
    return Finding(0.4, "ends in the middle of a sentence")
