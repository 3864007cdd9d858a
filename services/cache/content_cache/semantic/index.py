"""Finds the prompts most similar to one, within a partition; exact, in memory that is bounded.

Vectors are unit vectors in half precision, a matrix per partition; all of it is compared, 1,024 rows at a
time. At the most rows a partition may have this takes about two milliseconds; more would need a graph or
lists, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from content_cache.semantic.bound import Evidence
from content_cache.semantic.guard import Signature

Vector: TypeAlias = NDArray[np.float32]

MOST_ROWS = 8192
"""Prompts of one partition; the one not used for the longest time makes room."""
_CHUNK = 1024
_FIRST_ROWS = 16


@dataclass(slots=True, eq=False)
class Prompt:
    """A cached prompt.

    Attributes:
        key: The key its answer is stored under.
        version: Tells that answer from another one stored later under the key.
        says: Its signature.
        row: Where its vector is.
        evidence: Its comparisons, by the guard's verdict.
    """

    key: str
    version: object
    says: Signature
    row: int = -1
    evidence: dict[str, Evidence] = field(default_factory=dict)


class Index:
    """The prompts of one partition, by vector."""

    def __init__(self, dimensions: int) -> None:
        self._vectors = np.zeros((_FIRST_ROWS, dimensions), dtype=np.float16)
        self._prompts: list[Prompt | None] = [None] * _FIRST_ROWS
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._used: dict[Prompt, None] = {}

    def __len__(self) -> int:
        return len(self._used)

    @property
    def size_bytes(self) -> int:
        """Bytes the vectors take."""
        return self._vectors.nbytes

    def add(self, prompt: Prompt, vector: Vector) -> Prompt | None:
        """Add a prompt; returns the one that made room for it."""
        gone = None
        if not self._free:
            if len(self._prompts) >= MOST_ROWS:
                gone = next(iter(self._used))
                self.remove(gone)
            else:
                self._grow()
        prompt.row = self._free.pop()
        self._vectors[prompt.row] = vector
        self._prompts[prompt.row] = prompt
        self._used[prompt] = None
        return gone

    def use(self, prompt: Prompt) -> None:
        """Make a prompt the most recently used."""
        self._used[prompt] = self._used.pop(prompt)

    def remove(self, prompt: Prompt) -> None:
        """Forget a prompt."""
        del self._used[prompt]
        self._prompts[prompt.row] = None
        self._vectors[prompt.row] = 0
        self._free.append(prompt.row)

    def __contains__(self, prompt: Prompt) -> bool:
        return prompt in self._used

    def oldest(self) -> Prompt:
        """Return the prompt that has not been used for the longest time."""
        return next(iter(self._used))

    def nearest(self, vector: Vector, count: int) -> Iterator[tuple[Prompt, float]]:
        """Yield the most similar prompts with their cosine similarity, the most similar first."""
        if not self._used:
            return
        similarities = np.concatenate(
            [
                self._vectors[start : start + _CHUNK].astype(np.float32) @ vector
                for start in range(0, len(self._vectors), _CHUNK)
            ]
        )
        count = min(count, len(similarities))
        best = np.argpartition(-similarities, count - 1)[:count]
        for row in best[np.argsort(-similarities[best], kind="stable")]:
            prompt = self._prompts[row]
            if prompt is not None:
                yield prompt, float(min(1.0, max(0.0, similarities[row])))

    def _grow(self) -> None:
        before = len(self._prompts)
        self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._prompts.extend([None] * before)
        self._free.extend(range(2 * before - 1, before - 1, -1))
