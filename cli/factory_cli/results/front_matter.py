"""A finished item as a Markdown file: YAML front matter with how it came to be, then the content."""

from __future__ import annotations

import json

from contentfactory.processor.v1 import processor_pb2 as pb

_MICROS = 1_000_000


def to_markdown(result: pb.ItemResult, *, job_id: str) -> str:
    """Return the file's text for a result with content."""
    lines = [f"{name}: {_scalar(value)}" for name, value in facts(result, job_id=job_id).items()]
    return "\n".join(["---", *lines, "---", "", result.piece.content.rstrip(), ""])


def facts(result: pb.ItemResult, *, job_id: str) -> dict[str, str | int | float | bool | None]:
    """Return how a piece came to be, in the order of the front matter."""
    piece = result.piece
    similarity = {"similarity": round(piece.similarity, 3)} if piece.HasField("similarity") else {}
    return {
        "topic": result.labels.get("topic", ""),
        "content_type": piece.content_type,
        "model": piece.model,
        "template": piece.template_id,
        "template_version": piece.template_version,
        "quality": round(piece.quality, 3) if piece.HasField("quality") else None,
        "prompt_tokens": piece.prompt_tokens,
        "output_tokens": piece.output_tokens,
        "cost": piece.cost_micros / _MICROS,
        "cached": piece.cached,
        **similarity,
        "truncated": piece.truncated,
        "cache_key": piece.cache_key,
        "job_id": job_id,
        "item_id": result.item_id,
    }


def _scalar(value: str | float | bool | None) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    # What JSON writes is YAML too; in YAML, bare words like `no` or `1e3` would change their meaning.
    return json.dumps(value, ensure_ascii=False)
