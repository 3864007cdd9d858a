"""Whether an output has the form its content type asks for: pairs, cards, turns, headings, questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from prompt_optimizer.quality.findings import Finding, share
from prompt_optimizer.quality.text import Text

_ITEM = re.compile(r"(?:[-*•+]|\(?\d{1,3}[.):])\s+\S|[IVX]{1,5}\.\s")
_HEADING = re.compile(r"#{1,6}\s+\S|\*\*[^*]{2,80}\*\*:?$|[A-Z][^.!?]{1,70}:$")
_QUESTION_MARK = re.compile(r"[\W\d_]*(?:q|question)\b[\s\d.)*_]*:", re.IGNORECASE)
_ANSWER_MARK = re.compile(r"[\W\d_]*(?:a|answer)\b[\s\d.)*_]*:", re.IGNORECASE)
_FRONT_MARK = re.compile(r"[\W\d_]*(?:front|term|q|question)\b[\s\d.)*_]*:", re.IGNORECASE)
_BACK_MARK = re.compile(r"[\W\d_]*(?:back|definition|a|answer)\b[\s\d.)*_]*:", re.IGNORECASE)
_SPEAKER = re.compile(r"\W{0,4}([A-Z][\w.' -]{0,30}?)\s?\d?\W{0,3}:\W{0,3}\s*\S")
_ASKED = re.compile(r"\?[\W_]*$")
_PARAGRAPH_WORDS = 25

_OUTLINE_ITEMS = 5
_TURNS = 6
_SPEAKERS = 2
_GUIDE_HEADINGS = 3
_GUIDE_ITEMS = 4
_PAGER_ITEMS = 3
_PARAGRAPHS = 3
_PAIRS = 3
_CARDS = 4
_QUESTIONS = 4


def structure(text: Text, content_type: str) -> Finding | None:
    """Judge the form; None when none is known for the content type."""
    judge = _JUDGES.get(content_type)
    return judge(text) if judge else None


def _count(text: Text, pattern: re.Pattern[str]) -> int:
    return sum(1 for line in text.lines if pattern.match(line))


def _outline(text: Text) -> Finding:
    points = sum(1 for line in text.lines if _ITEM.match(line) or _HEADING.match(line))
    return Finding(share(points, _OUTLINE_ITEMS), f"{points} points or headings, {_OUTLINE_ITEMS} expected")


def _podcast(text: Text) -> Finding:
    speakers = [match[1] for line in text.lines if (match := _SPEAKER.match(line))]
    distinct = len(set(speakers))
    score = 0.6 * share(len(speakers), _TURNS) + 0.4 * share(distinct, _SPEAKERS)
    return Finding(score, f"{len(speakers)} turns of {distinct} speakers, {_TURNS} of {_SPEAKERS} expected")


def _study_guide(text: Text) -> Finding:
    headings, items = _count(text, _HEADING), _count(text, _ITEM)
    score = 0.5 * share(headings, _GUIDE_HEADINGS) + 0.5 * share(items, _GUIDE_ITEMS)
    return Finding(
        score,
        f"{headings} headings and {items} list items, {_GUIDE_HEADINGS} and {_GUIDE_ITEMS} expected",
    )


def _one_pager(text: Text) -> Finding:
    headings, items = _count(text, _HEADING), _count(text, _ITEM)
    score = 0.4 * share(headings, 1) + 0.6 * share(items, _PAGER_ITEMS)
    return Finding(score, f"{headings} headings and {items} list items, 1 and {_PAGER_ITEMS} expected")


def _reading(text: Text) -> Finding:
    long_lines = sum(1 for line in text.lines if line.count(" ") >= _PARAGRAPH_WORDS - 1)
    return Finding(
        share(long_lines, _PARAGRAPHS),
        f"{long_lines} paragraphs of {_PARAGRAPH_WORDS} words or more, {_PARAGRAPHS} expected",
    )


def _faq(text: Text) -> Finding:
    pairs = min(_count(text, _QUESTION_MARK), _count(text, _ANSWER_MARK))
    # Questions without marks, answered in the next line, are half of what was asked for.
    score = max(share(pairs, _PAIRS), 0.5 * share(_answered(text), _PAIRS))
    return Finding(score, f"{pairs} marked pairs of question and answer, {_PAIRS} expected")


def _answered(text: Text) -> int:
    asked = [bool(_ASKED.search(line)) for line in text.lines]
    return sum(1 for this, following in pairwise(asked) if this and not following)


def _flashcards(text: Text) -> Finding:
    cards = min(_count(text, _FRONT_MARK), _count(text, _BACK_MARK))
    return Finding(share(cards, _CARDS), f"{cards} cards with a front and a back, {_CARDS} expected")


def _questions(text: Text) -> Finding:
    asked = sum(1 for line in text.lines if _ASKED.search(line))
    return Finding(share(asked, _QUESTIONS), f"{asked} questions, {_QUESTIONS} expected")


_JUDGES: dict[str, Callable[[Text], Finding]] = {
    "outline": _outline,
    "podcast_script": _podcast,
    "study_guide": _study_guide,
    "one_pager": _one_pager,
    "detailed_reading": _reading,
    "faq": _faq,
    "flashcards": _flashcards,
    "reading_questions": _questions,
}
