"""Outcomes cut into documents of bounded size."""

from __future__ import annotations

from collections.abc import Mapping

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.shard import Shard

_CHUNK_BYTES = 700_000
"""What a result document may hold; leaves room for its own frame below the largest document."""

_CHUNK_OUTCOMES = 100
"""The most outcomes in a result document: it is found by its items, and a store looks into no longer list."""

_FRAME_BYTES = 1_000
"""What an outcome takes beside its texts."""


def chunked(shard: Shard, outcomes: Mapping[int, Outcome]) -> dict[str, dict[int, Outcome]]:
    """Cut the outcomes of a shard's next commit into documents.

    Their ids are used by no other epoch or commit (law 1).
    """
    prefix = f"{shard.job_id}.{shard.number}.{shard.epoch}.{shard.commits + 1}"
    chunks: list[dict[int, Outcome]] = []
    size = _CHUNK_BYTES + 1
    for index, outcome in outcomes.items():
        weight = weight_of(outcome)
        if size + weight > _CHUNK_BYTES or len(chunks[-1]) == _CHUNK_OUTCOMES:
            chunks.append({})
            size = 0
        chunks[-1][index] = outcome
        size += weight
    return {f"{prefix}.{number}": chunk for number, chunk in enumerate(chunks)}


def weight_of(outcome: Outcome) -> int:
    """Return about how many bytes an outcome takes in its document, rather more than fewer."""
    texts = [outcome.item_id, *outcome.labels, *outcome.labels.values()]
    if outcome.piece is not None:
        texts.append(outcome.piece.content)
    if outcome.error is not None:
        texts.append(outcome.error.message)
    return _FRAME_BYTES + sum(len(each.encode()) for each in texts)
