"""A topic as its author wrote it: a line of a JSONL file or a document, and what is to be made of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUTLINE = "outline"
DERIVATIVES = (
    "podcast_script",
    "study_guide",
    "one_pager",
    "detailed_reading",
    "faq",
    "flashcards",
    "reading_questions",
)
STANDARD_TYPES = (OUTLINE, *DERIVATIVES)

_MAX_SLUG = 60
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic and the content wanted from it.

    Attributes:
        topic: What it is about, in words.
        content_types: What is wanted, in order.
        variables: Values for templates beside the topic.
        topic_id: The author's own id; empty for none.
        notes: What the reader of the input should tell its author, for example that a source was cut.
        prompt: What to ask the model, literally and instead of a template; then there is one content type.
        max_tokens: The most tokens of an answer to the prompt.
        output_contract: What outputs must be like, as written; None if the templates say.
        handlers: What outputs go through; empty if the templates say.
    """

    topic: str
    content_types: tuple[str, ...] = STANDARD_TYPES
    variables: Mapping[str, str] = field(default_factory=dict)
    topic_id: str = ""
    notes: tuple[str, ...] = ()
    prompt: str = ""
    max_tokens: int = 0
    output_contract: Mapping[str, Any] | None = None
    handlers: tuple[str, ...] = ()


def slugify(text: str) -> str:
    """Return a name of lower-case letters, digits and hyphens; texts of other scripts get a stable hash."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = _NOT_SLUG.sub("-", ascii_text).strip("-")
    lost = sum(each.isalnum() for each in text) - sum(each.isalnum() for each in ascii_text)
    if not words or lost > len(text) // 4:
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        words = f"{words[:40].strip('-')}-{digest}".strip("-")
    return words if len(words) <= _MAX_SLUG else words[:_MAX_SLUG].rpartition("-")[0] or words[:_MAX_SLUG]


def unique_slugs(topics: list[Topic]) -> list[str]:
    """Return one slug per topic, in order; of equal ones the second becomes `…-2`, and so on."""
    taken: set[str] = set()
    slugs: list[str] = []
    for each in topics:
        wanted = slugify(each.topic_id or each.topic)
        slug, number = wanted, 1
        while slug in taken:
            number += 1
            slug = f"{wanted}-{number}"
        taken.add(slug)
        slugs.append(slug)
    return slugs
