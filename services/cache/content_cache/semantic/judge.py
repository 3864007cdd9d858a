"""Whether two answers say the same; asked when a caller generated one of them and did not judge itself."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from content_cache.semantic.embedding import Embedder
from content_cache.semantic.guard import compare, signature
from content_cache.semantic.index import Vector

PIECE_CHARACTERS = 600
MOST_PIECES = 16
SHORT_CHARACTERS = 200


class Judge(Protocol):
    """Compares answers."""

    def same(self, one: bytes, other: bytes) -> bool | None:
        """Tell whether either answer would do for the other; None if that cannot be told. Thread-safe."""


class OutputSimilarity:
    """The same if the mean embeddings of their pieces are close; short ones must pass the guard too.

    It sees what answers are about, not whether they are right: a judge of the caller's own, a model or a
    person, is worth more, and its verdict is taken instead where it is given.
    """

    def __init__(self, embedder: Embedder, *, at_least: float) -> None:
        """Make a judge.

        Args:
            embedder: Makes vectors.
            at_least: Cosine similarity from which two answers are the same.
        """
        self._embedder = embedder
        self._at_least = at_least

    def same(self, one: bytes, other: bytes) -> bool | None:
        """Compare two answers."""
        if one == other:
            return True
        try:
            texts = one.decode(), other.decode()
        except UnicodeDecodeError:
            return None
        if min(map(len, texts)) < SHORT_CHARACTERS and compare(*map(signature, texts)).is_veto:
            return False
        vectors = [self._mean(each) for each in texts]
        if vectors[0] is None or vectors[1] is None:
            return None
        return float(vectors[0] @ vectors[1]) >= self._at_least

    def _mean(self, text: str) -> Vector | None:
        pieces = [
            text[start : start + PIECE_CHARACTERS]
            for start in range(0, min(len(text), MOST_PIECES * PIECE_CHARACTERS), PIECE_CHARACTERS)
        ]
        vectors = [each for each in self._embedder.embed(pieces) if each is not None]
        if not vectors:
            return None
        mean: Vector = np.mean(vectors, axis=0)
        mean /= np.linalg.norm(mean)
        return mean
