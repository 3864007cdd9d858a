"""Which of a job's items an estimate looks at: all of a small job, chunks from all over a large one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from parallel_processor.jobs.item import Item

WHOLE_CHUNKS = 60
"""Up to this many chunks of items, about 6,000 items, a job is looked at as a whole."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Items that stand for a job.

    Attributes:
        chunks: Items, by the chunk they are stored in.
        scale: How many times they make up the job.
        unread: The share of the job's chunks that is not among them.
    """

    chunks: tuple[tuple[Item, ...], ...]
    scale: float
    unread: float


def chosen(chunk_count: int, rng: random.Random) -> list[int]:
    """Choose chunks: one at random from each of as many equal stretches of the job (stratified sampling)."""
    if chunk_count <= WHOLE_CHUNKS:
        return list(range(chunk_count))
    bounds = [chunk_count * number // WHOLE_CHUNKS for number in range(WHOLE_CHUNKS + 1)]
    return [rng.randrange(start, end) for start, end in pairwise(bounds)]


def sampled(chunks: Sequence[Sequence[Item]], *, chunk_count: int, item_count: int) -> Sampled:
    """Return chunks as what stands for the job they are from."""
    items = sum(map(len, chunks))
    unread = 1.0 - len(chunks) / chunk_count if chunk_count else 0.0
    return Sampled(tuple(map(tuple, chunks)), item_count / items if items else 0.0, unread)
