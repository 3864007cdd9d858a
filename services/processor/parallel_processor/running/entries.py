"""Pieces as cache entries and back: the content is the value, how it came to be are the facts beside it."""

from __future__ import annotations

from parallel_processor.jobs.piece import Piece
from parallel_processor.running.ports import Entry, Prompt, Source

_MEDIA_TYPE = "text/markdown; charset=utf-8"


def entry_of(piece: Piece, *, holder: str, item_id: str) -> Entry:
    """Return what is stored of a generated piece, and who generated it."""
    facts = {
        "content_type": piece.content_type,
        "model": piece.model,
        "prompt_tokens": str(piece.prompt_tokens),
        "output_tokens": str(piece.output_tokens),
        "holder": holder,
        "item": item_id,
    }
    if piece.truncated:
        facts["truncated"] = "true"
    if piece.quality is not None:
        facts["quality"] = f"{piece.quality:.4f}"
    return Entry(piece.content, _MEDIA_TYPE, piece.cost_micros, facts)


def piece_of(entry: Entry, prompt: Prompt, key: str, source: Source | None = None) -> Piece:
    """Return a cached piece, as the answer to a prompt; with a source, another prompt's."""
    facts = entry.facts
    return Piece(
        content=entry.value,
        content_type=prompt.content_type,
        model=facts.get("model", prompt.model),
        template_id=prompt.template_id,
        template_version=prompt.template_version,
        cache_key=source.key if source else key,
        cached=True,
        truncated=facts.get("truncated") == "true",
        prompt_tokens=_number(facts.get("prompt_tokens")),
        output_tokens=_number(facts.get("output_tokens")),
        cost_micros=entry.cost_micros,
        quality=_score(facts.get("quality")),
        generate_s=0.0,
        similarity=source.similarity if source else None,
    )


def is_own_work(entry: Entry, *, holder: str, item_id: str) -> bool:
    """Whether an entry is what an earlier epoch of this very item generated and paid for."""
    return entry.facts.get("holder") == holder and entry.facts.get("item") == item_id


def is_whole(entry: Entry) -> bool:
    """Whether an entry is all the model had to say, and so worth keeping."""
    return entry.facts.get("truncated") != "true"


def tags_of(piece: Piece) -> tuple[str, ...]:
    """Return the labels by which a piece's entry is found again."""
    tags = (f"content_type:{piece.content_type}"[:128],)
    if not piece.template_id:
        return tags
    return (*tags, f"template:{piece.template_id}@{piece.template_version}")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _score(text: str | None) -> float | None:
    try:
        score = float(text) if text else None
    except ValueError:  # stored by a client of the cache, not by us
        return None
    return score if score is not None and 0 <= score <= 1 else None
